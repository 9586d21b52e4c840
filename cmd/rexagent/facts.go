package main

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// facts is what the host says of itself; for people only.
func facts() map[string]string {
	f := map[string]string{"arch": runtime.GOARCH, "cpus": strconv.Itoa(runtime.NumCPU())}
	if name, err := os.Hostname(); err == nil {
		f["hostname"] = name
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f["kernel"] = unix.ByteSliceToString(u.Release[:])
	}
	if os := osName(); os != "" {
		f["os"] = os
	}
	return f
}

// osName is the distribution's own name for itself.
func osName() string {
	file, err := os.Open("/etc/os-release")
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}
