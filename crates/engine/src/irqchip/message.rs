//! An interrupt message: what the I/O APIC, MSI writes and inter-processor interrupts send to local
//! APICs (Intel SDM vol 3, 11.6.1 and 11.11).

/// Delivery mode, encoded the same way in the ICR, the LVT, redirection entries and MSI data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Fixed,
    LowestPriority,
    Smi,
    Nmi,
    Init,
    Startup,
    ExtInt,
}

impl Delivery {
    /// From the register field in bits 10:8 of `register`; 011 is reserved.
    pub(super) fn from_register(register: u32) -> Option<Self> {
        match (register >> 8) & 7 {
            0 => Some(Self::Fixed),
            1 => Some(Self::LowestPriority),
            2 => Some(Self::Smi),
            4 => Some(Self::Nmi),
            5 => Some(Self::Init),
            6 => Some(Self::Startup),
            7 => Some(Self::ExtInt),
            _ => None,
        }
    }

    /// Whether the vector goes through the IRR and is ended by an EOI.
    pub(super) fn has_vector(self) -> bool {
        matches!(self, Self::Fixed | Self::LowestPriority)
    }
}

/// Which local APICs a message is for. Numbers are APIC ids, which equal vCPU indexes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// The APIC with this id.
    Physical(u32),
    /// The APICs whose logical id matches this message destination address.
    Logical(u32),
    /// Every APIC.
    All,
    /// Every APIC but this one.
    AllBut(u32),
}

impl Destination {
    /// The 8-bit form of xAPIC ICRs, redirection entries and MSI addresses; all ones is a broadcast
    /// in both modes (11.6.2.1, 11.6.2.2).
    pub(super) fn from_byte(byte: u8, logical: bool) -> Self {
        match (byte, logical) {
            (0xFF, _) => Self::All,
            (id, false) => Self::Physical(u32::from(id)),
            (mda, true) => Self::Logical(u32::from(mda)),
        }
    }

    /// The 32-bit form of x2APIC ICRs (11.12.9).
    pub(super) fn from_x2apic(destination: u32, logical: bool) -> Self {
        match (destination, logical) {
            (u32::MAX, _) => Self::All,
            (id, false) => Self::Physical(id),
            (mda, true) => Self::Logical(mda),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) vector: u8,
    pub(super) delivery: Delivery,
    /// Level-triggered: the EOI is told to the I/O APIC.
    pub(super) level: bool,
    pub(super) destination: Destination,
}

/// What an interrupt command register asks for; `None` for combinations without effect.
///
/// INIT level de-assert (11.6.1) has had no effect since the Pentium 4; SMI, ExtINT and the reserved
/// mode are not sent. Trigger mode means nothing for the others, which are edges.
pub(super) fn from_icr(icr: u64, x2apic: bool, sender: u32) -> Option<Message> {
    let low = (icr & 0xFFFF_FFFF) as u32;
    let delivery = Delivery::from_register(low)?;
    let deassert = low & (1 << 14) == 0 && low & (1 << 15) != 0;
    match delivery {
        Delivery::Smi | Delivery::ExtInt => return None,
        Delivery::Init if deassert => return None,
        _ => {}
    }
    let logical = low & (1 << 11) != 0;
    let only_to_others = matches!(delivery, Delivery::Init | Delivery::Startup);
    let destination = match (low >> 18) & 3 {
        0 if x2apic => Destination::from_x2apic((icr >> 32) as u32, logical),
        0 => Destination::from_byte((icr >> 56) as u8, logical),
        3 => Destination::AllBut(sender),
        // Table 11-3: INIT and start-up messages cannot be sent to self by shorthand.
        _ if only_to_others => return None,
        1 => Destination::Physical(sender),
        _ => Destination::All,
    };
    Some(Message {
        vector: low as u8,
        delivery,
        level: false,
        destination,
    })
}
