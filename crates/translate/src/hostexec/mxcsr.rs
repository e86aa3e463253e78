//! Which instructions read MXCSR, and what its fields are (Intel SDM vol. 1, 10.2.3).

use iced_x86::{CpuidFeature, Instruction, Mnemonic};

/// Exception flags, bits 5:0: invalid, denormal, zero divide, overflow, underflow, precision.
pub(super) const FLAGS: u32 = 0x3F;
/// The underflow flag.
pub(super) const UNDERFLOW: u32 = 0x10;
/// The flags an instruction reports before it computes: invalid, denormal, zero divide.
pub(super) const PRE_COMPUTATION: u32 = 0x07;
/// The six exception masks, bits 12:7.
pub(super) const MASKS: u32 = 0x1F80;
/// The rounding control, denormals-are-zero and flush-to-zero.
pub(super) const CONTROL: u32 = 0xE040;
/// Flush-to-zero.
pub(super) const FLUSH_TO_ZERO: u32 = 0x8000;

/// Whether the result of `ins` depends on MXCSR or sets a flag in it.
///
/// The reciprocal estimates do neither, nor do conversions from 32-bit integer to double, which are
/// exact.
pub(super) fn uses_mxcsr(ins: &Instruction) -> bool {
    let features = ins.cpuid_features();
    if features.contains(&CpuidFeature::FMA) || features.contains(&CpuidFeature::F16C) {
        return true;
    }
    use Mnemonic::*;
    #[rustfmt::skip]
    let listed = matches!(
        ins.mnemonic(),
        Addps | Addpd | Addss | Addsd | Subps | Subpd | Subss | Subsd
            | Mulps | Mulpd | Mulss | Mulsd | Divps | Divpd | Divss | Divsd
            | Sqrtps | Sqrtpd | Sqrtss | Sqrtsd | Minps | Minpd | Minss | Minsd
            | Maxps | Maxpd | Maxss | Maxsd | Cmpps | Cmppd | Cmpss | Cmpsd
            | Comiss | Comisd | Ucomiss | Ucomisd
            | Addsubps | Addsubpd | Haddps | Haddpd | Hsubps | Hsubpd
            | Roundps | Roundpd | Roundss | Roundsd | Dpps | Dppd
            | Cvtpi2ps | Cvtps2pi | Cvtpd2pi | Cvttps2pi | Cvttpd2pi
            | Cvtdq2ps | Cvtps2dq | Cvttps2dq | Cvtpd2dq | Cvttpd2dq
            | Cvtps2pd | Cvtpd2ps | Cvtss2sd | Cvtsd2ss
            | Cvtsi2ss | Cvtsi2sd | Cvtss2si | Cvtsd2si | Cvttss2si | Cvttsd2si
            | Vaddps | Vaddpd | Vaddss | Vaddsd | Vsubps | Vsubpd | Vsubss | Vsubsd
            | Vmulps | Vmulpd | Vmulss | Vmulsd | Vdivps | Vdivpd | Vdivss | Vdivsd
            | Vsqrtps | Vsqrtpd | Vsqrtss | Vsqrtsd | Vminps | Vminpd | Vminss | Vminsd
            | Vmaxps | Vmaxpd | Vmaxss | Vmaxsd | Vcmpps | Vcmppd | Vcmpss | Vcmpsd
            | Vcomiss | Vcomisd | Vucomiss | Vucomisd
            | Vaddsubps | Vaddsubpd | Vhaddps | Vhaddpd | Vhsubps | Vhsubpd
            | Vroundps | Vroundpd | Vroundss | Vroundsd | Vdpps | Vdppd
            | Vcvtdq2ps | Vcvtps2dq | Vcvttps2dq | Vcvtpd2dq | Vcvttpd2dq
            | Vcvtps2pd | Vcvtpd2ps | Vcvtss2sd | Vcvtsd2ss
            | Vcvtsi2ss | Vcvtsi2sd | Vcvtss2si | Vcvtsd2si | Vcvttss2si | Vcvttsd2si
    );
    listed
}
