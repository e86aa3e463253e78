//! The forms of blocks, by what a translator has to do with them.

use iced_x86::{Code, ConditionCode, EncodingKind, FlowControl, Mnemonic, OpCodeOperandKind};

use crate::forms::{Form, forms};
use crate::operands::is_far;
use crate::rules::{Rules, Treatment};
use crate::state::Mode;

/// What an instruction is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Sets flags.
    Producer,
    /// Uses flags.
    Consumer,
    /// Loads, stores and moves, and leaves flags alone.
    Move,
    /// Uses the stack.
    Stack,
    /// Shifts, multiplies and divides, with registers that the form chooses.
    Wide,
    /// Reads and writes in one.
    Exchange,
    /// Jumps and calls.
    Branch,
    /// String instructions.
    String,
    /// Changes what later instructions do: rounding, exceptions, segment bases, vector state.
    Control,
    /// Anything at all.
    Any,
}

const KINDS: usize = 9;

/// The forms of each kind except the last.
#[derive(Debug)]
pub(super) struct Pools([Vec<Form>; KINDS]);

impl Pools {
    pub(super) fn new() -> Self {
        let rules = Rules::default();
        let mut all = forms(Mode::Long);
        all.retain(|form| {
            let code = form.code;
            rules.of(code) == Treatment::Compare && !code.op_code().must_be_cpl0()
        });
        let kinds = [
            Kind::Producer,
            Kind::Consumer,
            Kind::Move,
            Kind::Stack,
            Kind::Wide,
            Kind::Exchange,
            Kind::Branch,
            Kind::String,
            Kind::Control,
        ];
        Self(kinds.map(|kind| {
            let of_kind = all.iter().filter(|form| kind_of(form.code) == Some(kind));
            of_kind.copied().collect()
        }))
    }

    pub(super) fn of(&self, kind: Kind) -> &[Form] {
        &self.0[kind as usize]
    }
}

fn kind_of(code: Code) -> Option<Kind> {
    use Mnemonic as M;
    let op_code = code.op_code();
    let kinds = op_code.op_kinds();
    let string = |kind: &OpCodeOperandKind| {
        matches!(kind, OpCodeOperandKind::seg_rSI | OpCodeOperandKind::es_rDI)
    };
    let general = matches!(op_code.encoding(), EncodingKind::Legacy)
        && !kinds.iter().any(|kind| {
            use OpCodeOperandKind as K;
            matches!(
                kind,
                K::xmm_reg | K::xmm_or_mem | K::mm_reg | K::mm_or_mem | K::seg_reg
            )
        });
    if kinds.iter().any(string) {
        let plain = matches!(
            code.mnemonic(),
            M::Movsb
                | M::Movsw
                | M::Movsd
                | M::Movsq
                | M::Stosb
                | M::Stosw
                | M::Stosd
                | M::Stosq
                | M::Lodsb
                | M::Lodsw
                | M::Lodsd
                | M::Lodsq
                | M::Scasb
                | M::Scasw
                | M::Scasd
                | M::Scasq
                | M::Cmpsb
                | M::Cmpsw
                | M::Cmpsd
                | M::Cmpsq
        );
        return plain.then_some(Kind::String);
    }
    Some(match code.mnemonic() {
        M::Mov if general => Kind::Move,
        M::Movzx
        | M::Movsx
        | M::Movsxd
        | M::Lea
        | M::Movbe
        | M::Bswap
        | M::Movnti
        | M::Cbw
        | M::Cwde
        | M::Cdqe
        | M::Cwd
        | M::Cdq
        | M::Cqo
        | M::Not
        | M::Xlatb
        | M::Nop => Kind::Move,
        M::Add
        | M::Sub
        | M::And
        | M::Or
        | M::Xor
        | M::Cmp
        | M::Test
        | M::Inc
        | M::Dec
        | M::Neg
        | M::Bt
        | M::Bts
        | M::Btr
        | M::Btc
        | M::Bsf
        | M::Bsr
        | M::Popcnt
        | M::Lzcnt
        | M::Tzcnt
        | M::Clc
        | M::Stc
        | M::Sahf
        | M::Andn
        | M::Blsi
        | M::Blsr
        | M::Blsmsk
        | M::Bzhi
        | M::Bextr
        | M::Ptest
        | M::Comiss
        | M::Ucomisd
        | M::Comisd
        | M::Ucomiss
        | M::Cld
        | M::Std => Kind::Producer,
        M::Adc | M::Sbb | M::Cmc | M::Lahf | M::Rcl | M::Rcr | M::Adcx | M::Adox => Kind::Consumer,
        M::Push | M::Pop | M::Pushfq | M::Pushf | M::Popfq | M::Popf | M::Enter | M::Leave => {
            Kind::Stack
        }
        M::Shl
        | M::Sal
        | M::Shr
        | M::Sar
        | M::Rol
        | M::Ror
        | M::Shld
        | M::Shrd
        | M::Mul
        | M::Imul
        | M::Div
        | M::Idiv
        | M::Mulx
        | M::Rorx
        | M::Sarx
        | M::Shlx
        | M::Shrx
        | M::Pdep
        | M::Pext
        | M::Crc32 => Kind::Wide,
        M::Xchg | M::Xadd | M::Cmpxchg | M::Cmpxchg8b | M::Cmpxchg16b => Kind::Exchange,
        M::Ldmxcsr
        | M::Vldmxcsr
        | M::Stmxcsr
        | M::Wrfsbase
        | M::Wrgsbase
        | M::Rdfsbase
        | M::Rdgsbase
        | M::Vzeroupper
        | M::Vzeroall
        | M::Fxrstor
        | M::Fxrstor64
        | M::Fldcw
        | M::Emms
        | M::Fninit => Kind::Control,
        _ if is_branch(code) => Kind::Branch,
        _ if general && code.condition_code() != ConditionCode::None => Kind::Consumer,
        _ => return None,
    })
}

fn is_branch(code: Code) -> bool {
    let near = matches!(
        code.flow_control(),
        FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Call
            | FlowControl::IndirectCall
            | FlowControl::Return
    );
    near && !leaves(code)
}

/// Whether the form is a far transfer, which no block contains: what follows would be other code.
pub(super) fn leaves(code: Code) -> bool {
    let mut instruction = iced_x86::Instruction::default();
    instruction.set_code(code);
    is_far(&instruction)
        || matches!(
            code.mnemonic(),
            Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq
        )
}

/// Why a form is in no block although it is compared by itself, if so.
pub(super) fn left_out(code: Code) -> Option<&'static str> {
    use Mnemonic as M;
    let selector = |kind: &OpCodeOperandKind| {
        use OpCodeOperandKind as K;
        matches!(
            kind,
            K::seg_reg | K::es | K::cs | K::ss | K::ds | K::fs | K::gs
        )
    };
    let loads = matches!(code.mnemonic(), M::Mov | M::Pop);
    match code.mnemonic() {
        _ if leaves(code) => Some("what follows would be other code"),
        M::Int3 | M::Into => Some("the engines deliver it, and the handler is not there"),
        M::Fxsave | M::Fxsave64 | M::Fnstenv | M::Fnsave => {
            Some("stores fields that nobody promises, which others could load")
        }
        M::Lar => Some("gives bits that nobody promises, which others could use"),
        M::Lss | M::Lfs | M::Lgs => Some("a null selector's base is the vendor's"),
        _ if loads && selector(&code.op_code().op0_kind()) => {
            Some("a null selector's base is the vendor's")
        }
        _ => None,
    }
}
