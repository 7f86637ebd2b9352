//! Names and numbers of system calls.
//!
//! One row a name, one column an interface; a hash table made at compile time
//! leads from name to row, so that one look-up serves all architectures of a
//! profile.

use husk_spec::SeccompArch;

use crate::abi::{ARM_PRIVATE, Abi, X32_BIT};

#[rustfmt::skip]
mod rows;

use rows::ROWS;

/// Columns of the table, in the order of `rows.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Column {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Loongarch64,
    M68k,
    Mips,
    Mips64,
    Mips64n32,
    Parisc,
    Parisc64,
    Ppc,
    Ppc64,
    Riscv64,
    S390,
    S390x,
    Sh,
}

const COLUMNS: usize = Column::Sh as usize + 1;

/// No such call.
const N: u16 = 0xffff;
/// In the table arm's private calls stand from here.
const PRIVATE: u16 = 0xf000;

/// Bytes of the longest name and more.
const NAME_LENGTH: usize = 31;

/// What is known of one name.
///
/// It stands in the row itself: a pointer to it would have to be relocated at each start of a
/// program that may well have no filter to compile.
#[derive(Debug)]
pub(crate) struct Row {
    name: [u8; NAME_LENGTH],
    name_length: u8,
    /// 1 to 20: call number of socketcall(2). From 101: of ipc(2), plus 100.
    pub(crate) multiplexed: u8,
    numbers: [u16; COLUMNS],
}

const fn row(name: &str, multiplexed: u8, numbers: [u16; COLUMNS]) -> Row {
    let mut bytes = [0; NAME_LENGTH];
    // At compile time, where a name that is too long is an error.
    let (start, _) = bytes.split_at_mut(name.len());
    start.copy_from_slice(name.as_bytes());
    Row { name: bytes, name_length: name.len() as u8, multiplexed, numbers }
}

impl Row {
    const fn name_bytes(&self) -> &[u8] {
        self.name.split_at(self.name_length as usize).0
    }

    pub(crate) fn name(&self) -> &str {
        // They were a string's.
        str::from_utf8(self.name_bytes()).unwrap_or_default()
    }

    pub(crate) fn number(&self, column: Column) -> Option<u32> {
        match self.numbers[column as usize] {
            N => None,
            code if code >= PRIVATE => Some(ARM_PRIVATE + u32::from(code - PRIVATE)),
            code if matches!(column, Column::X32) => Some(X32_BIT + u32::from(code)),
            code => Some(u32::from(code)),
        }
    }
}

const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;

/// FNV-1a, taken modulo [`SLOTS`].
const fn hash(name: &[u8]) -> usize {
    let mut state: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < name.len() {
        state = (state ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    ((state >> 16) ^ state) as usize % SLOTS
}

static INDEX: [u16; SLOTS] = {
    let mut index = [EMPTY; SLOTS];
    let mut row = 0;
    while row < ROWS.len() {
        let mut slot = hash(ROWS[row].name_bytes());
        while index[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = row as u16;
        row += 1;
    }
    index
};

/// The row of a name, if any architecture has the call.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    let mut slot = hash(name.as_bytes());
    loop {
        match INDEX[slot] {
            EMPTY => return None,
            row if ROWS[usize::from(row)].name_bytes() == name.as_bytes() => {
                return Some(&ROWS[usize::from(row)]);
            }
            _ => slot = (slot + 1) % SLOTS,
        }
    }
}

pub(crate) fn number_of(name: &str, column: Column) -> Option<u32> {
    find(name)?.number(column)
}

pub(crate) fn name_of(number: u32, column: Column) -> Option<&'static str> {
    ROWS.iter().find(|row| row.number(column) == Some(number)).map(Row::name)
}

#[cfg(test)]
pub(crate) fn rows() -> &'static [Row] {
    &ROWS
}

/// The number by which `arch` makes the call `name`, x32's with bit 30 set.
pub fn syscall_number(arch: SeccompArch, name: &str) -> Option<u32> {
    Abi::of(arch).number(name)
}

/// The name of call `number` of `arch`. For x86_64 a number with bit 30 set is
/// one of x32.
pub fn syscall_name(arch: SeccompArch, number: u32) -> Option<&'static str> {
    let column = match Abi::of(arch).column {
        Column::X86_64 if number & X32_BIT != 0 => Column::X32,
        column => column,
    };
    name_of(number, column)
}
