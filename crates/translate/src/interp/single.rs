//! One instruction by itself, for oracles that compare the interpreter with something else.

use crate::cpu::Cpu;
use crate::cpu::exception::StopReason;
use crate::cpu::registers::RIP;
use crate::interp::op::Op;

impl Cpu {
    /// Executes the instruction at RIP (a repeated string instruction may need several calls, with
    /// RIP still on it) and nothing around it: no interrupt is taken, and an exception is returned in
    /// place of being delivered. Software interrupts (INT n, INT3, INTO, INT1) do go through the IDT.
    pub fn execute_one(&mut self) -> StopReason {
        self.drop_code_if_full();
        self.events = 0;
        let Ok((first, _)) = self.find_block() else {
            return std::mem::take(&mut self.stop);
        };
        // SAFETY: `find_block` gives a non-empty span that is valid until the next `find_block`.
        self.execute_op(unsafe { &*first })
    }

    /// The same for an instruction that is decoded already.
    #[inline]
    pub(crate) fn execute_op(&mut self, op: &Op) -> StopReason {
        self.regs[RIP] = self.regs[RIP].wrapping_add(u64::from(op.len));
        if (op.run)(self, op).is_err() {
            self.regs[RIP] = self.regs[RIP].wrapping_sub(u64::from(op.len));
            self.name_address_fault(op);
            return std::mem::take(&mut self.stop);
        }
        StopReason::None
    }
}
