//! Blocks by themselves, for oracles that compare the translator with something else.

use crate::cpu::Cpu;
use crate::cpu::exception::StopReason;

impl Cpu {
    /// Translates the next `instructions` instructions at RIP as one block, whatever their heat, and
    /// runs it. As with [`Cpu::execute_one`] no interrupt is taken and an exception is returned in
    /// place of being delivered; RIP is then at the instruction that raised it.
    pub fn execute_translated(&mut self, instructions: usize) -> StopReason {
        self.drop_code_if_full();
        self.drop_stale_code();
        self.events = 0;
        let mut there = self.translated_entry();
        if there.is_none() {
            if self.translate_block(instructions).is_none() {
                return self.execute_one();
            }
            there = self.translated_entry();
        }
        self.fast_tables()
            .expect("it has a translator")
            .clear_code();
        let host = there.expect("it has just been translated");
        self.single_block = true;
        self.enter(host);
        self.single_block = false;
        std::mem::take(&mut self.stop)
    }
}
