//! Facts about instructions that iced-x86 does not carry: alignment, waiting, streaming stores.

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::isa::{HostKind, Isa};

/// Alignment in bytes that the memory operand's linear address must have (else #GP(0)), 1 if none.
///
/// Legacy SSE asks it of every 16-byte operand but the few that exist to be unaligned; VEX asks it
/// only of the moves that are named aligned or streaming (Intel SDM vol. 2, 2.7, table 2-21 ff.).
pub(crate) fn required_alignment(ins: &Instruction, isa: Isa) -> u16 {
    use Mnemonic::*;
    let size = ins.memory_size().size() as u16;
    let has_memory = (0..ins.op_count()).any(|i| ins.op_kind(i) == OpKind::Memory);
    let aligned = match (has_memory, isa.kind) {
        (true, HostKind::Sse | HostKind::Mmx) => {
            let unaligned = matches!(
                ins.mnemonic(),
                Movups
                    | Movupd
                    | Movdqu
                    | Lddqu
                    | Pcmpestri
                    | Pcmpestri64
                    | Pcmpestrm
                    | Pcmpestrm64
                    | Pcmpistri
                    | Pcmpistrm
            );
            size == 16 && !unaligned
        }
        (true, HostKind::Avx) => matches!(
            ins.mnemonic(),
            Vmovaps | Vmovapd | Vmovdqa | Vmovntps | Vmovntpd | Vmovntdq | Vmovntdqa
        ),
        _ => false,
    };
    if aligned { size } else { 1 }
}

/// Whether the instruction raises #MF for an x87 exception that an earlier one left pending
/// (Intel SDM vol. 1, 8.3.11 and 8.3.12). The control instructions without a wait do not.
pub(super) fn waits_for_x87(ins: &Instruction, kind: HostKind) -> bool {
    use Mnemonic::*;
    let without_wait = matches!(
        ins.mnemonic(),
        Fninit | Fnclex | Fnstcw | Fnstsw | Fnstenv | Fnsave | Fneni | Fndisi | Fnsetpm
    );
    match kind {
        HostKind::X87 => !without_wait,
        HostKind::Mmx => true,
        HostKind::Gpr | HostKind::Sse | HostKind::Avx => false,
    }
}

/// The ordinary store with the effect of a streaming store: the staging buffer is read back at
/// once, and write combining would only delay that.
pub(super) fn without_streaming(code: Code) -> Code {
    match code {
        Code::Movnti_m32_r32 => Code::Mov_rm32_r32,
        Code::Movnti_m64_r64 => Code::Mov_rm64_r64,
        Code::Movntq_m64_mm => Code::Movq_mmm64_mm,
        Code::Movntps_m128_xmm | Code::Movntpd_m128_xmm | Code::Movntdq_m128_xmm => {
            Code::Movups_xmmm128_xmm
        }
        Code::VEX_Vmovntps_m128_xmm | Code::VEX_Vmovntpd_m128_xmm | Code::VEX_Vmovntdq_m128_xmm => {
            Code::VEX_Vmovdqu_xmmm128_xmm
        }
        Code::VEX_Vmovntps_m256_ymm | Code::VEX_Vmovntpd_m256_ymm | Code::VEX_Vmovntdq_m256_ymm => {
            Code::VEX_Vmovdqu_ymmm256_ymm
        }
        other => other,
    }
}
