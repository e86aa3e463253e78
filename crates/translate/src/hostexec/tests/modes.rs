//! Instructions decoded in 32-bit and 16-bit mode run as their 64-bit forms.

use iced_x86::{Code, Decoder, DecoderOptions, Encoder, Instruction, OpKind, Register};

use super::differential::{compile, describe, run_thunk, same, unpredictable};
use super::effort::generator;
use super::forms::{codes, random_form};
use super::reference::Reference;
use super::state::random_state;
use crate::hostexec::{HostExec, Outcome, Special, host_features};

/// `ins`, whose registers are all below 8, as `bitness`-bit code decodes it. The memory operand
/// becomes `[si]` or `[esi]`: no thunk depends on it.
fn in_mode(ins: &Instruction, bitness: u32) -> Option<Instruction> {
    let mut ins = *ins;
    if (0..ins.op_count()).any(|i| ins.op_kind(i) == OpKind::Memory) {
        ins.set_memory_base(if bitness == 16 {
            Register::SI
        } else {
            Register::ESI
        });
        ins.set_memory_displacement64(0);
        ins.set_memory_displ_size(0);
    }
    let mut encoder = Encoder::new(bitness);
    encoder.encode(&ins, 0).ok()?;
    let bytes = encoder.take_buffer();
    let decoded = Decoder::new(bitness, &bytes, DecoderOptions::NONE).decode();
    (decoded.code() == ins.code()).then_some(decoded)
}

#[test]
fn narrow_modes_do_what_the_host_does_in_64_bit_mode() {
    let mut random = generator(5);
    let mut reference = Reference::new();
    let mut exec = HostExec::new(64 << 10).expect("code buffer");
    let mut cases = 0;
    for code in codes().filter(|&code| !unpredictable(code)) {
        for round in 0..6 {
            let mut state = random_state(&mut random);
            let form = random_form(code, &mut random, &mut state, reference.window(), 64, 8);
            let Some(form) = form.filter(|f| host_features().contains(f.isa.features)) else {
                continue;
            };
            let bitness = if round % 2 == 0 { 32 } else { 16 };
            let Some(narrow) = in_mode(&form.ins, bitness) else {
                continue;
            };
            let op = compile(&mut exec, &narrow);
            if op.special != Special::None {
                continue;
            }
            let (mut ours, mut theirs) = (state.clone(), state.clone());
            assert_eq!(reference.run(&form.bytes, &mut theirs), 0);
            assert_eq!(run_thunk(&op, form.offset, &mut ours), Outcome::Done);
            assert!(
                same(&ours, &theirs),
                "{}",
                describe(&form, &state, &ours, &theirs)
            );
            cases += 1;
        }
    }
    println!("{cases} cases");
    assert!(cases > 4000, "only {cases} cases");
}

/// FNSTENV, FLDENV, FNSAVE and FRSTOR have a 16-bit layout, chosen by the operand size.
#[test]
fn environment_layout_follows_the_operand_size() {
    let mut exec = HostExec::new(4096).expect("code buffer");
    let size = |exec: &mut HostExec, bitness, bytes: &[u8]| {
        let ins = Decoder::new(bitness, bytes, DecoderOptions::NONE).decode();
        compile(exec, &ins).mem_size
    };
    assert_eq!(size(&mut exec, 16, &[0xD9, 0x34]), 14);
    assert_eq!(size(&mut exec, 16, &[0x66, 0xD9, 0x34]), 28);
    assert_eq!(size(&mut exec, 32, &[0xD9, 0x36]), 28);
    assert_eq!(size(&mut exec, 32, &[0x66, 0xDD, 0x36]), 94);
    assert_eq!(size(&mut exec, 64, &[0xDD, 0x36]), 108);
}

#[test]
fn what_is_out_of_scope_is_refused() {
    use crate::hostexec::CompileError;
    let mut exec = HostExec::new(4096).expect("code buffer");
    let refused: [&[u8]; 9] = [
        &[0x89, 0xC8],                         // mov eax, ecx
        &[0x62, 0xF1, 0x7C, 0x48, 0x58, 0xC1], // vaddps zmm0, zmm0, zmm1
        &[0x62, 0xF1, 0x7C, 0x08, 0x58, 0xC1], // vaddps xmm0, xmm0, xmm1 (EVEX)
        &[0x0F, 0x0F, 0xC1, 0x9E],             // pfadd mm0, mm1
        &[0xF2, 0x0F, 0x79, 0xC1],             // insertq xmm0, xmm1
        &[0xC4, 0xE2, 0x7D, 0xDC, 0xC1],       // vaesenc ymm0, ymm0, ymm1
        &[0x0F, 0xAE, 0x06],                   // fxsave [rsi]
        &[0x0F, 0xAE, 0x16],                   // ldmxcsr [rsi]
        &[0x8F, 0xE9, 0x78, 0x01, 0xC8],       // blcfill eax, eax (XOP)
    ];
    for bytes in refused {
        let ins = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        assert_ne!(ins.code(), Code::INVALID, "{bytes:02X?}");
        assert_eq!(
            exec.compile(&ins).err(),
            Some(CompileError::Unsupported),
            "{bytes:02X?}"
        );
    }
}
