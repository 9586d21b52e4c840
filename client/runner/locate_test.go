package runner

import (
	"strings"
	"testing"
)

// TestLocate has what real systems show.
func TestLocate(t *testing.T) {
	const (
		unified  = "24 30 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n29 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
		hybrid   = "33 24 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n34 33 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n35 33 0:30 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd\n"
		legacy   = "33 24 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n35 33 0:30 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd\n"
		hostNS   = "612 600 0:26 /system.slice/docker-1f.scope /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
		escaped  = "29 24 0:26 / /my\\040cgroups rw - cgroup2 cgroup2 rw\n"
		optional = "29 24 0:26 / /sys/fs/cgroup rw,relatime shared:4 master:2 propagate_from:3 - cgroup2 cgroup2 rw\n"
	)
	for _, c := range []struct {
		name, member, mounts, dir string
		top                       bool
		says                      string
	}{
		{"systemd", "0::/system.slice/rexagent.service\n", unified, "/sys/fs/cgroup/system.slice/rexagent.service", false, ""},
		{"systemd, hybrid", "12:pids:/system.slice/rexagent.service\n1:name=systemd:/system.slice/rexagent.service\n0::/system.slice/rexagent.service\n", hybrid, "/sys/fs/cgroup/unified/system.slice/rexagent.service", false, ""},
		{"first version only", "1:name=systemd:/system.slice/rexagent.service\n", legacy, "", false, "no cgroup of the second version"},
		{"not mounted", "1:name=systemd:/\n0::/\n", legacy, "", false, "is mounted"},
		{"container", "0::/\n", unified, "/sys/fs/cgroup", true, ""},
		{"container in the host's namespace", "0::/system.slice/docker-1f.scope\n", hostNS, "/sys/fs/cgroup", false, ""},
		{"below that", "0::/system.slice/docker-1f.scope/a/b\n", hostNS, "/sys/fs/cgroup/a/b", false, ""},
		{"beside that", "0::/system.slice/docker-1f.scope2\n", hostNS, "", false, "is mounted"},
		{"outside of the namespace", "0::/../..\n", unified, "", false, "no cgroup of the second version"},
		{"removed", "0::/gone (deleted)\n", unified, "", false, "no cgroup of the second version"},
		{"escaped", "0::/a\n", escaped, "/my cgroups/a", false, ""},
		{"optional fields", "0::/a\n", optional, "/sys/fs/cgroup/a", false, ""},
	} {
		dir, top, err := locate(c.member, c.mounts)
		if dir != c.dir || top != c.top || (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, %v, %v", c.name, dir, top, err)
		}
	}
}

func TestCgroupNames(t *testing.T) {
	c := &Cgroups{root: "/r", tag: "0a0b0c0d"}
	if got := c.of("/var/lib/rexagent/x/job.host"); got != "/r/x-0a0b0c0d-job.host" {
		t.Error(got)
	}
	long := strings.Repeat("a", 250)
	one, two := c.of("/x/"+long+"1"), c.of("/x/"+long+"2")
	if len(one) != len("/r/")+255 || one == two {
		t.Errorf("%d bytes, %d bytes, equal: %v", len(one), len(two), one == two)
	}
}
