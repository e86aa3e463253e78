//! A divergence, for people.

use std::fmt::Write;

use iced_x86::{Decoder, Formatter, NasmFormatter};

use super::locate::{Cut, Difference};
use super::stretch::SYSTEM_NAMES;
use crate::cpu::exception::{Exception, StopReason};
use crate::cpu::registers::RIP;
use crate::cpu::{Cpu, flags};
use crate::hostexec::XsaveArea;

const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const FLAGS: [(u64, &str); 6] = [
    (flags::CF, "CF"),
    (flags::PF, "PF"),
    (flags::AF, "AF"),
    (flags::ZF, "ZF"),
    (flags::SF, "SF"),
    (flags::OF, "OF"),
];

impl Cpu {
    /// Translated code did something else than the interpreter.
    pub(super) fn report_difference(
        &mut self,
        path: &[u64],
        cut: &Cut,
        difference: &Difference,
    ) -> String {
        let ran_on = |behind: usize| {
            behind == path.len() - 1
                && difference.stop != StopReason::None
                && difference.found.regs[RIP] != difference.expected.regs[RIP]
        };
        let at = match *cut {
            Cut::Behind(count) => path[count - 1],
            Cut::Whole if ran_on(path.len() - 1) => path[path.len() - 1],
            Cut::Whole => path[0],
        };
        let mut text = format!(
            "translated code and the interpreter differ {}\n",
            self.line(at)
        );
        if let Cut::Whole = cut {
            text.push_str("  (each instruction by itself is right: it is the blocks as a whole)\n");
        }
        self.where_it_is(&mut text, path);
        if let StopReason::Exception(Exception { vector, .. }) = difference.stop {
            let _ = writeln!(text, "  the interpreter raises exception {vector} there");
        }
        states(&mut text, difference);
        text
    }

    /// An instruction reads a flag that translated code has not kept.
    pub(super) fn report_lost_flag(
        &mut self,
        reader: u64,
        lost: u64,
        path: &[u64],
        found: u64,
        expected: u64,
    ) -> String {
        let mut text = format!(
            "translated code did not keep {}, which is read {}\n",
            flag_names(lost),
            self.line(reader)
        );
        text.push_str("  the flags were let go here:\n");
        self.where_it_is(&mut text, path);
        let _ = writeln!(text, "  {:<8}{:<34}interpreter", "", "translated");
        let _ = writeln!(
            text,
            "  {:<8}{:<34}{}",
            "flags",
            flag_names(found),
            flag_names(expected)
        );
        text
    }

    fn where_it_is(&mut self, text: &mut String, path: &[u64]) {
        let (index, ring) = (self.index, self.cpl);
        let _ = writeln!(text, "  on vCPU {index} in ring {ring}, in this stretch:");
        for &rip in path {
            let line = self.line(rip);
            let _ = writeln!(text, "    {}", line.trim_start_matches("at "));
        }
    }

    /// Address, bytes and text of the instruction at `rip`.
    fn line(&mut self, rip: u64) -> String {
        let Some((bytes, length)) = self.code_bytes(rip) else {
            return format!("at {rip:#x}");
        };
        let ins = Decoder::with_ip(64, &bytes[..length], rip, 0).decode();
        let hex: Vec<String> = bytes[..ins.len().min(length)]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut name = String::new();
        NasmFormatter::new().format(&ins, &mut name);
        format!("at {rip:#x}: {}  {name}", hex.join(" "))
    }
}

/// Both states, with a mark where they differ.
fn states(text: &mut String, difference: &Difference) {
    let (found, expected) = (&difference.found, &difference.expected);
    let _ = writeln!(text, "  {:<10}{:<18}interpreter", "", "translated");
    let mut row = |name: &str, found: u64, expected: u64| {
        let mark = if found == expected { "" } else { "  <" };
        let _ = writeln!(text, "  {name:<10}{found:016x}  {expected:016x}{mark}");
    };
    row("rip", found.regs[RIP], expected.regs[RIP]);
    for (n, name) in NAMES.iter().enumerate() {
        row(name, found.regs[n], expected.regs[n]);
    }
    row("flags", found.flags.bits(), expected.flags.bits());
    for (n, name) in SYSTEM_NAMES.iter().enumerate() {
        row(name, found.system[n], expected.system[n]);
    }
    if let (Some(found), Some(expected)) = (&found.vectors, &expected.vectors) {
        let mxcsr = (u64::from(found.mxcsr()), u64::from(expected.mxcsr()));
        row("mxcsr", mxcsr.0, mxcsr.1);
        row("fcw", found.fcw().into(), expected.fcw().into());
        row("fsw", found.fsw().into(), expected.fsw().into());
        row("ftw", found.ftw().into(), expected.ftw().into());
        for n in 0..8 {
            let value = |area: &XsaveArea| hex(&area.st(n));
            let (found, expected) = (value(found), value(expected));
            if found != expected {
                let _ = writeln!(text, "  st{n:<6}{found}\n  {:<8}{expected}  <", "");
            }
        }
        for n in 0..16 {
            let value = |area: &XsaveArea| area.ymm(n);
            let (found, expected) = (value(found), value(expected));
            if found != expected {
                let _ = writeln!(text, "  ymm{n:<5}{}", hex(&found));
                let _ = writeln!(text, "  {:<8}{}  <", "", hex(&expected));
            }
        }
    }
    for (gva, length, found, expected) in &difference.stores {
        let (found, expected) = (hex(&found[..*length]), hex(&expected[..*length]));
        let _ = writeln!(
            text,
            "  memory at {gva:#x}: {found}, interpreter {expected}  <"
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn flag_names(mask: u64) -> String {
    let names: Vec<&str> = FLAGS
        .iter()
        .filter(|(bit, _)| mask & bit != 0)
        .map(|&(_, name)| name)
        .collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(" ")
    }
}
