package report

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ThisMachine describes the machine that this process runs on, and its load at this moment. It reads /proc;
// what can't be read there is an error, except for what says whether the machine is virtual.
func ThisMachine() (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	if m.CPU = field(cpu, "model name"); m.CPU == "" {
		m.CPU = runtime.GOARCH
	}
	mem, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, err
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(field(mem, "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return m, fmt.Errorf("/proc/meminfo: %w", err)
	}
	m.MemoryBytes = kib << 10
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return m, err
	}
	if _, err := fmt.Sscan(string(load), &m.Load[0], &m.Load[1], &m.Load[2]); err != nil {
		return m, fmt.Errorf("/proc/loadavg: %w", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, err
	}
	m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return m, err
	}
	m.Descriptors = limit.Cur
	if release, err := os.ReadFile("/etc/os-release"); err == nil {
		m.System = osName(release)
	}
	m.Virtualisation = virtualisation(cpu)
	return m, nil
}

// field gives the value of the first "name : value" line.
func field(text []byte, name string) string {
	for line := range bytes.Lines(text) {
		if k, v, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func osName(release []byte) string {
	for in := bufio.NewScanner(bytes.NewReader(release)); in.Scan(); {
		if v, ok := strings.CutPrefix(in.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}

// virtualisation says what is known of what the machine runs in; "" if it seems to be real.
func virtualisation(cpuinfo []byte) string {
	var seen []string
	if strings.Contains(" "+field(cpuinfo, "flags")+" ", " hypervisor ") {
		kind := "virtual machine"
		for _, file := range []string{"/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name"} {
			if b, err := os.ReadFile(file); err == nil && len(bytes.TrimSpace(b)) > 0 {
				kind += ", " + string(bytes.TrimSpace(b))
			}
		}
		seen = append(seen, kind)
	}
	if b, err := os.ReadFile("/sys/hypervisor/type"); err == nil {
		seen = append(seen, string(bytes.TrimSpace(b)))
	}
	if _, err := os.Stat("/.dockerenv"); err == nil {
		seen = append(seen, "container")
	}
	return strings.Join(seen, "; ")
}

// FileSystem names the type of the file system that a path is on, or says what its number is.
func FileSystem(path string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return ""
	}
	switch s.Type {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4" // or 2, or 3
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	}
	return fmt.Sprintf("file system %#x", s.Type)
}
