//! The calls of CUDA's driver library that are used here, found by name when the library is loaded.
//!
//! Nothing is linked: a machine without the library loses its measurements and nothing else. A
//! symbol that is missing makes the call that needs it say so.

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::mem::ManuallyDrop;

use libloading::Library;

type Status = c_int;
type Device = c_int;
/// Address in the GPU's memory.
type Address = u64;
type Handle = *mut c_void;

const SUCCESS: Status = 0;
const NOT_FOUND: &str = "CUDA's driver library has no";

macro_rules! calls {
    ($($name:ident = $symbol:literal ($($argument:ty),*);)*) => {
        /// The functions that the library has.
        #[derive(Debug)]
        pub(super) struct Api {
            $($name: Option<unsafe extern "C" fn($($argument),*) -> Status>,)*
            error_name: Option<unsafe extern "C" fn(Status, *mut *const c_char) -> Status>,
            /// Never closed: its own threads may still run in it.
            _library: ManuallyDrop<Library>,
        }

        impl Api {
            /// Loads the library and looks its functions up.
            #[allow(unsafe_code)]
            pub(super) fn load(path: &OsStr) -> Result<Self, String> {
                // SAFETY: loading runs the library's constructors. It is the driver's own library,
                // or the one that the user names for it.
                let library = unsafe { Library::new(path) }.map_err(|e| e.to_string())?;
                // SAFETY: the types are those of the driver's published header for these symbols,
                // whose version is part of their names.
                unsafe {
                    Ok(Self {
                        $($name: library.get(concat!($symbol, "\0").as_bytes()).ok().map(|s| *s),)*
                        error_name: library.get(b"cuGetErrorName\0").ok().map(|s| *s),
                        _library: ManuallyDrop::new(library),
                    })
                }
            }
        }
    };
}

calls! {
    init = "cuInit"(c_uint);
    device_count = "cuDeviceGetCount"(*mut c_int);
    device_get = "cuDeviceGet"(*mut Device, c_int);
    device_uuid_v2 = "cuDeviceGetUuid_v2"(*mut [u8; 16], Device);
    device_uuid = "cuDeviceGetUuid"(*mut [u8; 16], Device);
    device_pci = "cuDeviceGetPCIBusId"(*mut c_char, c_int, Device);
    context_retain = "cuDevicePrimaryCtxRetain"(*mut Handle, Device);
    context_set = "cuCtxSetCurrent"(Handle);
    memory_alloc = "cuMemAlloc_v2"(*mut Address, usize);
    memory_free = "cuMemFree_v2"(Address);
    host_alloc = "cuMemHostAlloc"(*mut *mut c_void, usize, c_uint);
    host_free = "cuMemFreeHost"(*mut c_void);
    copy_in = "cuMemcpyHtoDAsync_v2"(Address, *const c_void, usize, Handle);
    copy_out = "cuMemcpyDtoHAsync_v2"(*mut c_void, Address, usize, Handle);
    copy_within = "cuMemcpyDtoDAsync_v2"(Address, Address, usize, Handle);
    event_create = "cuEventCreate"(*mut Handle, c_uint);
    event_record = "cuEventRecord"(Handle, Handle);
    event_wait = "cuEventSynchronize"(Handle);
    event_elapsed = "cuEventElapsedTime"(*mut f32, Handle, Handle);
    event_destroy = "cuEventDestroy_v2"(Handle);
}

/// Calls a function, when the library has it, and turns its status into a result.
macro_rules! call {
    ($api:expr, $name:ident, $symbol:literal, $($argument:expr),*) => {
        match $api.$name {
            None => Err(format!("{NOT_FOUND} {}", $symbol)),
            Some(function) => {
                // SAFETY: every pointer is to a live value of the type that the header asks for,
                // every handle and address came from this library and is not yet given back.
                let status = unsafe { function($($argument),*) };
                $api.check($symbol, status)
            }
        }
    };
}

/// Where a CUDA device sits, to tell which of the driver's GPUs it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) device: Device,
    pub(super) uuid: Option<[u8; 16]>,
    pub(super) pci_bus_id: Option<String>,
}

#[allow(unsafe_code)]
impl Api {
    fn check(&self, symbol: &str, status: Status) -> Result<(), String> {
        if status == SUCCESS {
            return Ok(());
        }
        let mut name: *const c_char = std::ptr::null();
        let named = self.error_name.is_some_and(|function| {
            // SAFETY: the pointer is to a live pointer, which is set to a text of the library.
            unsafe { function(status, &raw mut name) == SUCCESS }
        });
        if named && !name.is_null() {
            // SAFETY: the library's texts end in a zero and are never freed.
            let name = unsafe { CStr::from_ptr(name) };
            return Err(format!("{symbol} says {}", name.to_string_lossy()));
        }
        Err(format!("{symbol} failed with status {status}"))
    }

    pub(super) fn start(&self) -> Result<(), String> {
        call!(self, init, "cuInit", 0)
    }

    pub(super) fn devices(&self) -> Result<Vec<Place>, String> {
        let mut count = 0;
        call!(self, device_count, "cuDeviceGetCount", &raw mut count)?;
        let mut places = Vec::new();
        for ordinal in 0..count.clamp(0, 1024) {
            let mut device = 0;
            call!(self, device_get, "cuDeviceGet", &raw mut device, ordinal)?;
            places.push(Place {
                device,
                uuid: self.uuid(device),
                pci_bus_id: self.pci(device),
            });
        }
        Ok(places)
    }

    fn uuid(&self, device: Device) -> Option<[u8; 16]> {
        let mut uuid = [0; 16];
        call!(
            self,
            device_uuid_v2,
            "cuDeviceGetUuid_v2",
            &raw mut uuid,
            device
        )
        .or_else(|_| call!(self, device_uuid, "cuDeviceGetUuid", &raw mut uuid, device))
        .ok()
        .map(|()| uuid)
    }

    fn pci(&self, device: Device) -> Option<String> {
        let mut text = [0_u8; 64];
        // The last byte stays zero, whatever the library writes.
        call!(
            self,
            device_pci,
            "cuDeviceGetPCIBusId",
            text.as_mut_ptr().cast(),
            63,
            device
        )
        .ok()?;
        let text = CStr::from_bytes_until_nul(&text).ok()?;
        Some(text.to_string_lossy().into_owned())
    }

    /// Makes the device's own context the one of this thread. It is kept until the process ends.
    pub(super) fn enter(&self, device: Device) -> Result<(), String> {
        let mut context: Handle = std::ptr::null_mut();
        call!(
            self,
            context_retain,
            "cuDevicePrimaryCtxRetain",
            &raw mut context,
            device
        )?;
        call!(self, context_set, "cuCtxSetCurrent", context)
    }

    pub(super) fn device_memory(&self, bytes: usize) -> Result<DeviceMemory<'_>, String> {
        let mut address = 0;
        call!(self, memory_alloc, "cuMemAlloc_v2", &raw mut address, bytes)?;
        Ok(DeviceMemory {
            api: self,
            address,
            bytes,
        })
    }

    pub(super) fn pinned_memory(&self, bytes: usize) -> Result<PinnedMemory<'_>, String> {
        let mut start: *mut c_void = std::ptr::null_mut();
        call!(self, host_alloc, "cuMemHostAlloc", &raw mut start, bytes, 0)?;
        Ok(PinnedMemory {
            api: self,
            start,
            bytes,
        })
    }

    fn event(&self) -> Result<Event<'_>, String> {
        let mut handle: Handle = std::ptr::null_mut();
        call!(self, event_create, "cuEventCreate", &raw mut handle, 0)?;
        Ok(Event { api: self, handle })
    }

    /// Seconds that the GPU needed for what `work` gives it to do.
    pub(super) fn time(&self, work: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
        let (begin, end) = (self.event()?, self.event()?);
        let stream: Handle = std::ptr::null_mut();
        call!(self, event_record, "cuEventRecord", begin.handle, stream)?;
        work()?;
        call!(self, event_record, "cuEventRecord", end.handle, stream)?;
        call!(self, event_wait, "cuEventSynchronize", end.handle)?;
        let mut milliseconds = 0.0;
        call!(
            self,
            event_elapsed,
            "cuEventElapsedTime",
            &raw mut milliseconds,
            begin.handle,
            end.handle
        )?;
        Ok(f64::from(milliseconds) / 1000.0)
    }
}

/// A buffer in the GPU's memory.
pub(super) struct DeviceMemory<'a> {
    api: &'a Api,
    address: Address,
    bytes: usize,
}

/// A buffer in RAM that the GPU reads and writes by itself.
pub(super) struct PinnedMemory<'a> {
    api: &'a Api,
    start: *mut c_void,
    bytes: usize,
}

struct Event<'a> {
    api: &'a Api,
    handle: Handle,
}

/// Copies are only started: [`Api::time`] waits for them, so both buffers must outlive it, which
/// they do in the one function that calls these.
#[allow(unsafe_code)]
impl DeviceMemory<'_> {
    pub(super) fn fill_from(&self, from: &PinnedMemory<'_>) -> Result<(), String> {
        let (bytes, stream) = (self.bytes.min(from.bytes), std::ptr::null_mut());
        call!(
            self.api,
            copy_in,
            "cuMemcpyHtoDAsync_v2",
            self.address,
            from.start,
            bytes,
            stream
        )
    }

    pub(super) fn empty_into(&self, to: &PinnedMemory<'_>) -> Result<(), String> {
        let (bytes, stream) = (self.bytes.min(to.bytes), std::ptr::null_mut());
        call!(
            self.api,
            copy_out,
            "cuMemcpyDtoHAsync_v2",
            to.start,
            self.address,
            bytes,
            stream
        )
    }

    pub(super) fn copy_to(&self, to: &DeviceMemory<'_>) -> Result<(), String> {
        let (bytes, stream) = (self.bytes.min(to.bytes), std::ptr::null_mut());
        call!(
            self.api,
            copy_within,
            "cuMemcpyDtoDAsync_v2",
            to.address,
            self.address,
            bytes,
            stream
        )
    }
}

#[allow(unsafe_code)]
impl Drop for DeviceMemory<'_> {
    fn drop(&mut self) {
        // What cannot be given back ends with the process.
        let _ = call!(self.api, memory_free, "cuMemFree_v2", self.address);
    }
}

#[allow(unsafe_code)]
impl Drop for PinnedMemory<'_> {
    fn drop(&mut self) {
        let _ = call!(self.api, host_free, "cuMemFreeHost", self.start);
    }
}

#[allow(unsafe_code)]
impl Drop for Event<'_> {
    fn drop(&mut self) {
        let _ = call!(self.api, event_destroy, "cuEventDestroy_v2", self.handle);
    }
}
