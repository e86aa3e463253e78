//! Who answers a port or a guest-physical address that is not RAM.
//!
//! Every range is native (answered in Rust), Python (leaves the engine as an exit), or unclaimed
//! (reads give all ones, writes vanish, as on a PC bus nobody drives). Engines count each access
//! by route, so a machine that is slow because of Python devices shows it.

use std::sync::RwLock;

use crate::contract::EngineError;

/// Devices that live in Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    /// The 8259 pair, the 8254 and port 61h; the access's own port says which.
    LegacyIrqchip,
    /// The I/O APIC's register window.
    IoApic,
}

/// Where an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Answered here; the offset is from the start of the claim.
    Native {
        /// Which.
        device: Native,
        /// Bytes into its claim.
        offset: u64,
    },
    /// Leaves the engine.
    Python {
        /// What the claim was made with.
        token: u64,
        /// Bytes into the claim.
        offset: u64,
    },
    /// Nobody's.
    Unclaimed,
}

/// Accesses outside RAM, by route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteCounts {
    /// Ports answered in Rust.
    pub pio_native: u64,
    /// Ports answered in Python.
    pub pio_python: u64,
    /// Ports nobody answers.
    pub pio_unclaimed: u64,
    /// Device memory answered in Rust.
    pub mmio_native: u64,
    /// Device memory answered in Python.
    pub mmio_python: u64,
    /// Addresses nobody answers.
    pub mmio_unclaimed: u64,
}

#[derive(Clone, Copy)]
struct Claim {
    base: u64,
    length: u64,
    owner: Owner,
}

#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Native(Native),
    Python(u64),
}

/// The two address spaces of a machine.
#[derive(Default)]
pub struct Bus {
    pio: RwLock<Vec<Claim>>,
    mmio: RwLock<Vec<Claim>>,
}

impl Bus {
    /// Gives ports `base..base+length` to a device in Python.
    ///
    /// # Errors
    /// [`EngineError::BadClaim`] if empty, past FFFFh, or overlapping another claim.
    pub fn claim_pio(&self, base: u16, length: u32, token: u64) -> Result<(), EngineError> {
        insert(
            &self.pio,
            u64::from(base),
            u64::from(length),
            0x1_0000,
            Owner::Python(token),
        )
    }

    /// Gives ports to a device in Rust.
    ///
    /// # Errors
    /// As [`Bus::claim_pio`].
    pub fn claim_pio_native(
        &self,
        base: u16,
        length: u32,
        device: Native,
    ) -> Result<(), EngineError> {
        insert(
            &self.pio,
            u64::from(base),
            u64::from(length),
            0x1_0000,
            Owner::Native(device),
        )
    }

    /// Gives a guest-physical range to a device in Python.
    ///
    /// # Errors
    /// As [`Bus::claim_pio`].
    pub fn claim_mmio(&self, base: u64, length: u64, token: u64) -> Result<(), EngineError> {
        insert(&self.mmio, base, length, u64::MAX, Owner::Python(token))
    }

    /// Gives a guest-physical range to a device in Rust.
    ///
    /// # Errors
    /// As [`Bus::claim_pio`].
    pub fn claim_mmio_native(
        &self,
        base: u64,
        length: u64,
        device: Native,
    ) -> Result<(), EngineError> {
        insert(&self.mmio, base, length, u64::MAX, Owner::Native(device))
    }

    /// Takes back every memory claim made with `token` (a PCI BAR that moves).
    pub fn release_mmio(&self, token: u64) {
        let mut claims = self.mmio.write().unwrap_or_else(|e| e.into_inner());
        claims.retain(|c| c.owner != Owner::Python(token));
    }

    /// Who answers a port.
    #[must_use]
    pub fn pio(&self, port: u16) -> Route {
        find(&self.pio, u64::from(port))
    }

    /// Who answers a guest-physical address.
    #[must_use]
    pub fn mmio(&self, gpa: u64) -> Route {
        find(&self.mmio, gpa)
    }
}

fn insert(
    space: &RwLock<Vec<Claim>>,
    base: u64,
    length: u64,
    limit: u64,
    owner: Owner,
) -> Result<(), EngineError> {
    let refuse = |why: &str| {
        Err(EngineError::BadClaim(format!(
            "the range {base:#x}+{length:#x} {why}"
        )))
    };
    let Some(end) = base
        .checked_add(length)
        .filter(|&end| length > 0 && end <= limit)
    else {
        return refuse("is empty or leaves the address space");
    };
    let mut claims = space.write().unwrap_or_else(|e| e.into_inner());
    let at = claims.partition_point(|c| c.base < base);
    let overlaps_before = at > 0 && claims[at - 1].base + claims[at - 1].length > base;
    if overlaps_before || claims.get(at).is_some_and(|c| c.base < end) {
        return refuse("overlaps a range that is claimed already");
    }
    claims.insert(
        at,
        Claim {
            base,
            length,
            owner,
        },
    );
    Ok(())
}

fn find(space: &RwLock<Vec<Claim>>, address: u64) -> Route {
    let claims = space.read().unwrap_or_else(|e| e.into_inner());
    let at = claims.partition_point(|c| c.base <= address);
    let Some(claim) = at.checked_sub(1).map(|i| claims[i]) else {
        return Route::Unclaimed;
    };
    let offset = address - claim.base;
    match claim.owner {
        _ if offset >= claim.length => Route::Unclaimed,
        Owner::Native(device) => Route::Native { device, offset },
        Owner::Python(token) => Route::Python { token, offset },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_find_their_claim_and_the_offset_in_it() {
        let bus = Bus::default();
        bus.claim_pio(0x3f8, 8, 7).unwrap();
        bus.claim_pio_native(0x20, 2, Native::LegacyIrqchip)
            .unwrap();
        assert_eq!(
            bus.pio(0x3fd),
            Route::Python {
                token: 7,
                offset: 5
            }
        );
        assert_eq!(
            bus.pio(0x21),
            Route::Native {
                device: Native::LegacyIrqchip,
                offset: 1
            }
        );
        assert_eq!(bus.pio(0x22), Route::Unclaimed);
        assert_eq!(bus.pio(0), Route::Unclaimed);
    }

    #[test]
    fn overlapping_empty_and_wrapping_claims_are_refused() {
        let bus = Bus::default();
        bus.claim_mmio(0x1000, 0x1000, 1).unwrap();
        for (base, length) in [
            (0x1fff, 1),
            (0xfff, 2),
            (0x800, 0x4000),
            (0, 0),
            (u64::MAX, 2),
        ] {
            assert!(
                bus.claim_mmio(base, length, 2).is_err(),
                "{base:#x}+{length:#x}"
            );
        }
        assert!(bus.claim_pio(0xffff, 2, 3).is_err());
        bus.release_mmio(1);
        bus.claim_mmio(0x1fff, 1, 2).unwrap();
    }
}
