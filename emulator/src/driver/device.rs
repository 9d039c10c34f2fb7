//! The one device, as its profile describes it.

use super::code::{Code, Result};
use super::settings;
use super::state::{Driver, driver, initialise};
use crate::profile::Profile;

fn with_device<R>(ordinal: i32, work: impl FnOnce(&Driver) -> Result<R>) -> Result<R> {
    driver(|d| if ordinal == 0 { work(d) } else { Err(Code::INVALID_DEVICE) })
}

fn name(profile: &Profile) -> String {
    format!("rewind PTX emulator ({})", profile.name)
}

/// Sixteen bytes that differ from profile to profile and look like no real device's.
fn uuid(profile: &Profile) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(b"rewind".iter().chain(profile.name.as_bytes())).for_each(|(to, &from)| *to = from);
    bytes
}

/// `CU_DEVICE_ATTRIBUTE_*`. What is not listed is either a feature that is not there, hence 0, or unknown.
fn attribute(p: &Profile, attribute: u32) -> Result<i32> {
    // Texture and surface limits: not supported by the emulator.
    const TEXTURES: [std::ops::RangeInclusive<u32>; 4] = [21..=30, 42..=49, 51..=74, 77..=77];
    let value = match attribute {
        1 => p.max_threads_per_block,
        2..=4 => p.max_block_dim[attribute as usize - 2],
        5..=7 => p.max_grid_dim[attribute as usize - 5],
        8 => p.shared_per_block,
        9 => p.constant_bytes,
        10 => p.warp_size,
        11 => i32::MAX as u32,
        12 => p.max_registers_per_block,
        13 => p.clock_khz,
        14 => 512,
        // Copies beside kernels, mapped host memory, concurrent kernels, unified addresses, stream priorities, caches of
        // global and local memory in L1, managed memory with concurrent access, preemption, host pointers as device
        // pointers, cooperative launches, registration of host memory, memory pools.
        15 | 19 | 31 | 41 | 78 | 79 | 80 | 83 | 89 | 90 | 91 | 95 | 99 | 115 => 1,
        16 => p.sm_count,
        32 => p.ecc.into(),
        36 => p.memory_clock_khz,
        37 => p.memory_bus_bits,
        38 => p.l2_bytes,
        39 => p.max_threads_per_sm,
        40 => p.copy_engines,
        75 => p.compute_capability.0,
        76 => p.compute_capability.1,
        81 => p.shared_per_sm,
        82 => p.registers_per_sm,
        87 => p.single_to_double_ratio(),
        97 => p.shared_per_block_optin,
        106 => p.max_blocks_per_sm,
        111 => p.shared_reserved_per_block,
        // No NUMA node, of the device or of the host beside it.
        131 | 134 => u32::MAX,
        17 | 18 | 20 | 33..=35 | 50 | 84..=86 | 88 | 92..=94 | 96 | 98 | 100..=105 | 107..=110 => 0,
        112..=114 | 116..=130 | 132 | 133 | 135..=147 => 0,
        _ if TEXTURES.iter().any(|r| r.contains(&attribute)) => 0,
        _ => return Err(Code::INVALID_VALUE),
    };
    Ok(value as i32)
}

exports! {
    fn cuInit(flags: u32) {
        if flags == 0 { initialise() } else { Err(Code::INVALID_VALUE) }
    }
    fn cuDriverGetVersion(out: Out<i32>) {
        out.put(settings::driver_version()?)
    }
    fn cuDeviceGet(out: Out<i32>, ordinal: i32) {
        with_device(ordinal, |_| out.put(0))
    }
    fn cuDeviceGetCount(out: Out<i32>) {
        driver(|_| out.put(1))
    }
    fn cuDeviceGetName(out: Out<u8>, room: i32, device: i32) {
        with_device(device, |d| {
            let room = usize::try_from(room).ok().filter(|&r| r > 0).ok_or(Code::INVALID_VALUE)?;
            let text = name(d.machine.profile);
            let bytes = text.bytes().take(room - 1).chain([0]);
            bytes.enumerate().try_for_each(|(at, byte)| out.at(at, byte))
        })
    }
    fn cuDeviceGetUuid(out: Out<[u8; 16]>, device: i32) {
        with_device(device, |d| out.put(uuid(d.machine.profile)))
    }
    fn cuDeviceGetUuid_v2(out: Out<[u8; 16]>, device: i32) {
        with_device(device, |d| out.put(uuid(d.machine.profile)))
    }
    fn cuDeviceTotalMem_v2(out: Out<usize>, device: i32) {
        with_device(device, |d| out.put(d.machine.memory.total() as usize))
    }
    fn cuDeviceGetAttribute(out: Out<i32>, number: u32, device: i32) {
        with_device(device, |d| out.put(attribute(d.machine.profile, number)?))
    }
    fn cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, device: i32) {
        with_device(device, |d| {
            let (x, y) = d.machine.profile.compute_capability;
            major.put(x as i32)?;
            minor.put(y as i32)
        })
    }
    fn cuDeviceGetPCIBusId(out: Out<u8>, room: i32, device: i32) {
        with_device(device, |_| {
            const ID: &[u8] = b"0000:00:00.0\0";
            if room < ID.len() as i32 {
                return Err(Code::INVALID_VALUE);
            }
            ID.iter().enumerate().try_for_each(|(at, &byte)| out.at(at, byte))
        })
    }
    fn cuDeviceGetByPCIBusId(out: Out<i32>, id: Text) {
        driver(|_| if id.get()?.ends_with("00:00.0") { out.put(0) } else { Err(Code::INVALID_DEVICE) })
    }
    fn cuDeviceCanAccessPeer(out: Out<i32>, device: i32, peer: i32) {
        with_device(device | peer, |_| out.put(0))
    }
    fn cuDeviceGetP2PAttribute(_out: Out<i32>, _attribute: u32, _device: i32, _peer: i32) {
        // There is no pair of devices to ask about.
        driver(|_| Err(Code::INVALID_DEVICE))
    }
    fn cuProfilerStart() {
        driver(|_| Ok(()))
    }
    fn cuProfilerStop() {
        driver(|_| Ok(()))
    }
}
