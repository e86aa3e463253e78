//! Read-modify-write of one memory operand, plain and locked.

use std::sync::Mutex;

use crate::cpu::Cpu;
use crate::cpu::exception::Exec;
use crate::cpu::flags::Flags;
use crate::cpu::int::Int;

/// Held over a locked operation that crosses a page or touches a device: such an operation is atomic
/// against its like, which is all that software can rely on for uncached and split operands here.
static SPLIT_LOCK: Mutex<()> = Mutex::new(());

/// What an operation makes of its operand.
pub(super) struct Change<T, R> {
    /// The new operand.
    pub(super) value: T,
    /// The new flags.
    pub(super) flags: Flags,
    /// What the instruction needs besides.
    pub(super) result: R,
}

impl<T> From<(T, Flags)> for Change<T, ()> {
    #[inline(always)]
    fn from((value, flags): (T, Flags)) -> Self {
        Self {
            value,
            flags,
            result: (),
        }
    }
}

impl Cpu {
    /// Locked or plain, as the instruction's prefix says.
    #[inline(always)]
    pub(super) fn modify_as<T: Int, R>(
        &mut self,
        locked: bool,
        gva: u64,
        f: impl Fn(Flags, T) -> Change<T, R>,
    ) -> Exec<R> {
        if locked {
            self.modify_locked(gva, f)
        } else {
            self.modify(gva, f)
        }
    }

    /// Replaces the operand at `gva` by what `f` makes of it and of the flags, then sets the flags.
    #[inline(always)]
    pub(super) fn modify<T: Int, R>(
        &mut self,
        gva: u64,
        f: impl Fn(Flags, T) -> Change<T, R>,
    ) -> Exec<R> {
        let change = match self.place::<T>(gva)? {
            Some(place) => {
                // SAFETY: a place is an operand's worth of RAM.
                let change = f(self.flags, unsafe { T::load(place.at) });
                // SAFETY: as above.
                unsafe { change.value.store(place.at) };
                self.stored(&place, T::BYTES);
                change
            }
            None => {
                let change = f(self.flags, self.read::<T>(gva)?);
                self.write(gva, change.value)?;
                change
            }
        };
        self.flags = change.flags;
        Ok(change.result)
    }

    /// As [`Cpu::modify`], atomic against all other vCPUs.
    #[inline(always)]
    pub(super) fn modify_locked<T: Int, R>(
        &mut self,
        gva: u64,
        f: impl Fn(Flags, T) -> Change<T, R>,
    ) -> Exec<R> {
        let change = match self.place::<T>(gva)? {
            Some(place) => loop {
                // SAFETY: a place is an operand's worth of RAM.
                let old = unsafe { T::load(place.at) };
                let change = f(self.flags, old);
                // SAFETY: as above.
                if unsafe { T::compare_exchange(place.at, old, change.value) } == old {
                    self.stored(&place, T::BYTES);
                    break change;
                }
            },
            None => {
                let _held = SPLIT_LOCK.lock().unwrap_or_else(|e| e.into_inner());
                let change = f(self.flags, self.read::<T>(gva)?);
                self.write(gva, change.value)?;
                change
            }
        };
        self.flags = change.flags;
        Ok(change.result)
    }
}
