package runner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rexgate/rexgate/client/clienttest"
)

// eachWay runs a test with scripts in cgroups of their own, and without.
func eachWay(t *testing.T, f func(t *testing.T, r *Supervised)) {
	t.Run("subreaper", func(t *testing.T) { f(t, New()) })
	t.Run("cgroup", func(t *testing.T) { f(t, contained(t)) })
}

// contained gives a runner that has a cgroup to divide; this process is in it until the test ends.
func contained(t testing.TB) *Supervised {
	t.Helper()
	r := New()
	r.Cgroups = cgroups(t, delegated(t))
	return r
}

func cgroups(t testing.TB, root string) *Cgroups {
	t.Helper()
	home, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	c, err := openCgroups(root, "/x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		dir, _, err := locate(string(home), string(mounts))
		if err == nil {
			err = cgroup{dir}.take(os.Getpid())
		}
		if err != nil {
			t.Error(err)
		}
	})
	return c
}

// delegated makes a cgroup as systemd hands it over.
func delegated(t testing.TB) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	top, _, err := locate("0::/\n", string(mounts))
	if err != nil || unix.Access(top, unix.W_OK) != nil {
		top = t.TempDir()
		if err := syscall.Mount("none", top, "cgroup2", 0, ""); err != nil {
			clienttest.Lacking(t, "mount cgroups: %v", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(top, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	root := filepath.Join(top, "rexgate-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(root, 0o755); err != nil {
		clienttest.Lacking(t, "make a cgroup: %v", err)
	}
	t.Cleanup(func() {
		if err := (cgroup{root}).empty(patience); err != nil {
			t.Error(err)
		}
		if err := (cgroup{root}).remove(); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Setxattr(root, "trusted.delegate", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	return root
}

// members gives the processes of a cgroup.
func members(t *testing.T, path string) (all []int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	for f := range strings.FieldsSeq(string(b)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func contains(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}
