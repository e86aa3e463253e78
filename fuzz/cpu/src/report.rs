//! Cases and outcomes as text.

use core::fmt::Write;

use iced_x86::{Formatter, Instruction, NasmFormatter};

use crate::layout::DATA_BASE;
use crate::state::{
    Case, End, Outcome, SELECTOR_NAMES, State, X87_REGISTERS, XMM_REGISTERS, YMM_HIGH,
};

const GPR: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// The instruction in NASM syntax, with its bytes.
pub fn disassembly(instruction: &Instruction, bytes: &[u8]) -> String {
    let mut text = String::new();
    NasmFormatter::new().format(instruction, &mut text);
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{text}  [{}]  {:?}", bytes.join(" "), instruction.code())
}

/// Everything the case starts from that is not zero or background.
pub fn inputs(case: &Case) -> String {
    let mut text = String::new();
    let registers = &case.state.registers;
    let _ = writeln!(
        text,
        "  rip {:016x}  rflags {:x}",
        registers.rip, registers.rflags
    );
    for (row, chunk) in registers.gpr.chunks(4).enumerate() {
        for (column, value) in chunk.iter().enumerate() {
            let _ = write!(text, "  {:>3} {value:016x}", GPR[row * 4 + column]);
        }
        text.push('\n');
    }
    let image = &case.state.xsave.0;
    let _ = writeln!(
        text,
        "  fcw {} fsw {} ftw {} mxcsr {}",
        hex(&image[0..2]),
        hex(&image[2..4]),
        hex(&image[4..5]),
        hex(&image[24..28])
    );
    for poke in &case.pokes {
        let address = DATA_BASE + poke.offset as u64;
        let _ = writeln!(
            text,
            "  [{address:x}] = {}",
            hex(&poke.bytes[..poke.length])
        );
    }
    text
}

/// What differs between the two outcomes, one line a register.
pub fn differences(case: &Case, host: &Outcome, subject: &Outcome) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "  end      host {}  subject {}",
        end(&host.end),
        end(&subject.end)
    );
    let before = fields(&case.state);
    let rows = before
        .iter()
        .zip(fields(&host.state))
        .zip(fields(&subject.state));
    for (((name, before), (_, host)), (_, subject)) in rows {
        if host != subject {
            let _ = writeln!(
                text,
                "  {name:<8} was {before}  host {host}  subject {subject}"
            );
        }
    }
    text
}

/// What differs between the two data windows.
pub fn memory(before: &[u8], host: &[u8], subject: &[u8]) -> String {
    let mut text = String::new();
    let rows = host
        .chunks(16)
        .zip(subject.chunks(16))
        .zip(before.chunks(16));
    let differing = rows
        .enumerate()
        .filter(|(_, ((host, subject), _))| host != subject);
    for (row, ((host, subject), before)) in differing.take(8) {
        let address = DATA_BASE + row as u64 * 16;
        let (was, host, subject) = (hex_raw(before), hex_raw(host), hex_raw(subject));
        let _ = writeln!(
            text,
            "  [{address:x}] was {was}\n{:13}host {host}\n{:10}subject {subject}",
            "", ""
        );
    }
    text
}

fn end(end: &End) -> String {
    match end {
        End::Completed => "completed".into(),
        End::Escaped => "escaped".into(),
        End::Exception {
            vector,
            error,
            address,
        } => {
            format!("exception {vector} error {error:x} address {address:x}")
        }
    }
}

fn fields(state: &State) -> Vec<(String, String)> {
    let registers = &state.registers;
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in GPR.iter().zip(registers.gpr) {
        fields.push(((*name).into(), format!("{value:016x}")));
    }
    fields.push(("rip".into(), format!("{:016x}", registers.rip)));
    fields.push(("rflags".into(), format!("{:06x}", registers.rflags)));
    fields.push(("fs_base".into(), format!("{:016x}", registers.fs_base)));
    fields.push(("gs_base".into(), format!("{:016x}", registers.gs_base)));
    for (name, value) in SELECTOR_NAMES.iter().zip(registers.selectors) {
        fields.push(((*name).into(), format!("{value:04x}")));
    }
    let image = &state.xsave.0;
    for (name, range) in [
        ("fcw", 0..2),
        ("fsw", 2..4),
        ("ftw", 4..5),
        ("mxcsr", 24..28),
    ] {
        fields.push((name.into(), hex(&image[range])));
    }
    for number in 0..8 {
        let start = X87_REGISTERS + number * 16;
        fields.push((format!("st{number}"), hex(&image[start..start + 10])));
    }
    for number in 0..16 {
        let (low, high) = (XMM_REGISTERS + number * 16, YMM_HIGH + number * 16);
        let value = hex(&image[high..high + 16]) + &hex(&image[low..low + 16]);
        fields.push((format!("ymm{number}"), value));
    }
    fields
}

/// A little-endian number, most significant byte first.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes in memory order.
fn hex_raw(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}
