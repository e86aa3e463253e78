//! Gathers, masked moves and register clearing against the host, faults included.

use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, Instruction, MemoryOperand, Mnemonic, OpKind, Register,
};

use super::differential::{compile, describe, same};
use super::effort::generator;
use super::forms::{Form, codes, random_form};
use super::reference::Reference;
use super::state::{Random, State, WINDOW, random_state};
use crate::hostexec::{GuestBytes, HostExec, Special, XsaveArea, required_isa, run_special};

/// The window as guest memory; everything else faults.
struct Window<'a> {
    base: u64,
    bytes: &'a mut [u8; WINDOW],
}

impl Window<'_> {
    fn range(&mut self, ea: u64, length: usize) -> Result<&mut [u8], u64> {
        let start = usize::try_from(ea.wrapping_sub(self.base)).map_err(|_| ea)?;
        self.bytes
            .get_mut(start..start.saturating_add(length))
            .ok_or(ea)
    }
}

impl GuestBytes for Window<'_> {
    type Error = u64;

    fn read(&mut self, ea: u64, into: &mut [u8]) -> Result<(), u64> {
        self.range(ea, into.len())
            .map(|from| into.copy_from_slice(from))
    }

    fn probe_write(&mut self, ea: u64, length: usize) -> Result<(), u64> {
        self.range(ea, length).map(drop)
    }

    fn write(&mut self, ea: u64, from: &[u8]) -> Result<(), u64> {
        self.range(ea, from.len())
            .map(|into| into.copy_from_slice(from))
    }
}

fn run(ins: &Instruction, base: u64, state: &mut State) -> Result<(), u64> {
    let State {
        gpr, area, window, ..
    } = state;
    run_special(
        ins,
        gpr,
        area,
        &mut Window {
            base,
            bytes: window,
        },
    )
}

fn special_codes(wanted: fn(Special) -> bool) -> impl Iterator<Item = Code> {
    codes().filter(move |&code| {
        let mut bare = Instruction::new();
        bare.set_code(code);
        // Both directions of a masked move have one mnemonic; the operand kind tells them apart.
        bare.set_op0_kind(OpKind::Register);
        wanted(Special::of(&bare))
    })
}

/// A gather over three different vector registers whose elements are at `base + index * scale`.
fn gather(code: Code, random: &mut Random, state: &mut State, window: u64, faults: bool) -> Form {
    use Mnemonic::*;
    let mnemonic = code.mnemonic();
    let narrow = matches!(mnemonic, Vgatherdps | Vgatherdpd | Vpgatherdd | Vpgatherdq);
    let first = random.below(16) as u32;
    let [to, index, mask] = [0, 1 + random.below(7) as u32, 8].map(|step| (first + step) % 16);
    let vector = |operand, number| {
        let name = format!("{:?}", code.op_code().op_kind(operand));
        if name.contains("ymm") || name.ends_with('y') {
            Register::YMM0 + number
        } else {
            Register::XMM0 + number
        }
    };
    let scale = if faults { 1 } else { random.one_of(&[1, 2, 4]) };
    let base = random.below(16) as u32;
    state.gpr[base as usize] = if faults { 0 } else { window + 512 };
    let mut indices = [0; 32];
    let size = if narrow { 4 } else { 8 };
    for at in (0..32).step_by(size) {
        let value = match (faults, random.below(6)) {
            (true, 0) => 8,
            (true, _) => window as i64 + random.below(WINDOW as u64 - 8) as i64,
            (false, _) => random.below(200) as i64 - 100,
        };
        indices[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }
    state.area.set_ymm(index as usize, indices);
    let memory =
        MemoryOperand::with_base_index_scale(Register::RAX + base, vector(1, index), scale);
    let ins = Instruction::with3(code, vector(0, to), memory, vector(2, mask)).expect("operands");
    let mut encoder = Encoder::new(64);
    encoder.encode(&ins, 0).expect("encodes");
    let bytes = encoder.take_buffer();
    let ins = Decoder::new(64, &bytes, DecoderOptions::NONE).decode();
    assert_eq!(ins.code(), code);
    let isa = required_isa(&ins).expect("AVX2");
    Form {
        ins,
        bytes,
        isa,
        offset: None,
    }
}

#[test]
fn gathers_load_like_the_host_and_stop_like_the_host() {
    let mut random = generator(8);
    let mut reference = Reference::new();
    let mut exec = HostExec::new(4096).expect("code buffer");
    let (mut cases, mut stopped) = (0, 0);
    for code in special_codes(|special| special == Special::Gather) {
        for round in 0..100 {
            let mut state = random_state(&mut random);
            let window = reference.window();
            let form = gather(code, &mut random, &mut state, window, round % 2 == 1);
            assert_eq!(compile(&mut exec, &form.ins).special, Special::Gather);
            let (mut ours, mut theirs) = (state.clone(), state.clone());
            let signal = reference.run(&form.bytes, &mut theirs);
            let result = run(&form.ins, window, &mut ours);
            assert_eq!(result.is_err(), signal == libc::SIGSEGV, "{code:?}");
            assert!(
                same(&ours, &theirs),
                "{signal} {}",
                describe(&form, &state, &ours, &theirs)
            );
            cases += 1;
            stopped += i32::from(signal != 0);
        }
    }
    assert!(
        cases == 1600 && stopped > 100,
        "{cases} cases, {stopped} stopped"
    );
}

#[test]
fn masked_moves_touch_what_the_host_touches() {
    let mut random = generator(9);
    let mut reference = Reference::new();
    let (mut cases, mut faults) = (0, 0);
    let masked = |special| {
        matches!(
            special,
            Special::MaskedLoad | Special::MaskedStore | Special::ByteMaskedStore
        )
    };
    for code in special_codes(masked) {
        for round in 0..60 {
            let mut state = random_state(&mut random);
            let window = reference.window();
            let form = random_form(code, &mut random, &mut state, window, 1, 16).expect("encodes");
            // The operand hangs over the end of the window in every other round.
            let shift = if round % 2 == 0 {
                0
            } else {
                WINDOW as u64 - 24
            };
            let operand = (0..3).find(|&i| form.ins.op_kind(i) != OpKind::Register);
            let base = match form.ins.op_kind(operand.expect("memory")) {
                OpKind::Memory => form.ins.memory_base().number(),
                _ => 7,
            };
            let offset = form
                .offset
                .map_or_else(|| state.gpr[7] - window, |at| at as u64);
            if shift != 0 {
                let end = shift + random.below(16);
                state.gpr[base] = state.gpr[base].wrapping_sub(offset).wrapping_add(end);
            }
            let (mut ours, mut theirs) = (state.clone(), state.clone());
            let signal = reference.run(&form.bytes, &mut theirs);
            let result = run(&form.ins, window, &mut ours);
            let byte_masked = Special::of(&form.ins) == Special::ByteMaskedStore;
            if byte_masked && signal != 0 && result.is_ok() {
                // Whether MASKMOVDQU faults on bytes it does not store is up to the processor.
                continue;
            }
            assert_eq!(
                result.is_err(),
                signal == libc::SIGSEGV,
                "{code:?} round {round}"
            );
            if result.is_err() {
                // How much of a store is done before it faults is the implementation's choice.
                theirs.window = ours.window;
                faults += 1;
            }
            assert!(
                same(&ours, &theirs),
                "{signal} {}",
                describe(&form, &state, &ours, &theirs)
            );
            cases += 1;
        }
    }
    println!("{cases} cases, {faults} faults");
    assert!(faults > 100, "{cases} cases, {faults} faults");
}

#[test]
fn clearing_follows_the_mode() {
    let decode =
        |bitness, bytes: &[u8]| Decoder::new(bitness, bytes, DecoderOptions::NONE).decode();
    let full = |_: usize| [0xA5; 32];
    for (bitness, cleared) in [(64, 16), (32, 8)] {
        let mut area = XsaveArea::default();
        let mut nothing = [0; WINDOW];
        let mut memory = Window {
            base: 0,
            bytes: &mut nothing,
        };
        (0..16).for_each(|i| area.set_ymm(i, full(i)));
        let upper = decode(bitness, &[0xC5, 0xF8, 0x77]);
        run_special(&upper, &[0; 16], &mut area, &mut memory).expect("no memory");
        for index in 0..16 {
            let expected = if index < cleared {
                0
            } else {
                u128::from_le_bytes([0xA5; 16])
            };
            assert_eq!(area.ymm_high(index), expected);
            assert_eq!(area.xmm(index), u128::from_le_bytes([0xA5; 16]));
        }
        let all = decode(bitness, &[0xC5, 0xFC, 0x77]);
        run_special(&all, &[0; 16], &mut area, &mut memory).expect("no memory");
        assert!((0..cleared).all(|index| area.ymm(index) == [0; 32]));
    }
}

#[test]
fn addresses_wrap_at_the_address_size() {
    struct Log(Vec<u64>);
    impl GuestBytes for Log {
        type Error = ();
        fn read(&mut self, ea: u64, into: &mut [u8]) -> Result<(), ()> {
            self.0.push(ea);
            into.fill(0);
            Ok(())
        }
        fn probe_write(&mut self, _: u64, _: usize) -> Result<(), ()> {
            Ok(())
        }
        fn write(&mut self, ea: u64, _: &[u8]) -> Result<(), ()> {
            self.0.push(ea);
            Ok(())
        }
    }
    let mut gpr = [0; 16];
    gpr[7] = 0x1234_5678_FFFF_FFFE;
    let mut area = XsaveArea::default();
    area.set_xmm(1, u128::MAX);
    // maskmovdqu xmm0, xmm1, in 64-bit mode and with a 32-bit address size.
    for (bytes, expected) in [
        (&[0x66, 0x0F, 0xF7, 0xC1][..], 0x1234_5679_0000_0000),
        (&[0x67, 0x66, 0x0F, 0xF7, 0xC1][..], 0),
    ] {
        let ins = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        let mut log = Log(Vec::new());
        run_special(&ins, &gpr, &mut area, &mut log).expect("log");
        assert_eq!((log.0.len(), log.0[2]), (16, expected));
    }
    // vmaskmovps xmm0, xmm1, [edi]
    let bytes = [0x67, 0xC4, 0xE2, 0x71, 0x2C, 0x07];
    let ins = Decoder::new(64, &bytes, DecoderOptions::NONE).decode();
    let mut log = Log(Vec::new());
    run_special(&ins, &gpr, &mut area, &mut log).expect("log");
    assert_eq!(log.0, [0xFFFF_FFFE, 2, 6, 10]);
}
