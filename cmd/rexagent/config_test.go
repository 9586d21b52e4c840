package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/cmd/program"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	copied := filepath.Join(s.dir, "copied")
	if err := os.CopyFS(copied, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(copied, "host.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, "journal"), []byte("RXJL\x02\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(config, []byte("slots:\n  default: many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"not enrolled":      {program.ExitFailed, "isn't enrolled", []string{"run", "--state-dir", s.dir}},
		"newer journal":     {program.ExitFailed, "version 2", []string{"run", "--state-dir", copied}},
		"bad lane":          {program.ExitUsage, "--slots", []string{"run", "--state-dir", state, "--slots", "UPPER=1"}},
		"bad slots":         {program.ExitUsage, "not a number", []string{"run", "--state-dir", state, "--config", config}},
		"too many slots":    {program.ExitUsage, "--slots", []string{"run", "--state-dir", state, "--slots", "default=65"}},
		"bad transport":     {program.ExitUsage, "--transport", []string{"run", "--state-dir", state, "--transport", "pigeon"}},
		"bad level":         {program.ExitUsage, "--log-level", []string{"run", "--state-dir", state, "--log-level", "loud"}},
		"unknown flag":      {program.ExitUsage, "--lane", []string{"run", "--lane", "x"}},
		"unknown command":   {program.ExitUsage, `"rum"`, []string{"rum"}},
		"arguments":         {program.ExitUsage, "takes no arguments", []string{"run", "x"}},
		"no token":          {program.ExitUsage, "--token-file", []string{"enroll", "--state-dir", s.dir}},
		"no token file":     {program.ExitFailed, "none", []string{"enroll", "--state-dir", s.dir, "--token-file", filepath.Join(s.dir, "none")}},
		"not a token":       {program.ExitFailed, "enrolment token", []string{"enroll", "--state-dir", s.dir, "--token-file", config}},
		"supervise by hand": {1, "for the agent's own use", []string{"supervise", s.dir}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := rexagent(t, "", c.args...)
			if code := p.ended(); code != c.code || !strings.Contains(p.err.String(), c.says) || strings.Count(p.err.String(), "\n") != 1 {
				t.Errorf("status %d: %s", code, p.err.String())
			}
		})
	}
}

// TestCopiedState: a state directory that another machine's agent has used is refused.
func TestCopiedState(t *testing.T) {
	t.Parallel()
	here, err := machineID("/")
	if err != nil {
		clienttest.Lacking(t, "tell machines apart: "+err.Error())
	}
	s := newSite(t)
	state := s.enrol("h")
	own := s.run(state)
	s.ends(s.submit("h", "true"), "h")
	own.stop(syscall.SIGTERM)
	path := filepath.Join(state, "journal")
	journal := []byte(read(t, path))
	// The journal's header is its first record: length, CRC-32C, JSON.
	head := journal[16 : 16+binary.LittleEndian.Uint32(journal[8:])]
	at := bytes.Index(head, []byte(here))
	if at < 0 {
		t.Fatalf("the journal doesn't name its machine: %s", head)
	}
	copy(head[at:], strings.Repeat("0", len(here)))
	binary.LittleEndian.PutUint32(journal[12:], crc32.Checksum(head, crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(path, journal, 0o600); err != nil {
		t.Fatal(err)
	}
	p := s.run(state)
	if code := p.ended(); code != program.ExitFailed || !strings.Contains(p.err.String(), "another machine") {
		t.Errorf("status %d: %s", code, p.err.String())
	}
}

// TestMachineID: the second place is looked at if there is nothing of use in the first.
func TestMachineID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ etc, dbus, want string }{
		{"one\n", "two\n", "one"}, {"", "two\n", "two"}, {"\n", "two\n", "two"}, {"uninitialized\n", "two\n", "two"},
		{"uninitialized\n", "", ""}, {"", "", ""},
	} {
		root := t.TempDir()
		for file, text := range map[string]string{"etc/machine-id": c.etc, "var/lib/dbus/machine-id": c.dbus} {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if text == "" {
				continue
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if id, err := machineID(root); id != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %q, %v", c, id, err)
		}
	}
}

// TestSettings come from the file too, and one file serves all commands.
func TestSettings(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	config := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(config, []byte("state-dir: "+state+"\nallow-root: true\nslots:\n  default: 2\ntransport: socket\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rexagent(t, "", "run", "--config", config)
	trace := t.TempDir()
	// Two at a time: each waits for the other.
	meet := func(mine, other string) string {
		return "cd " + trace + "; touch " + mine + "; while [ ! -e " + other + " -a -d " + trace + " ]; do sleep 0.02; done; echo met"
	}
	jobs := []string{s.submit("h", meet("x", "y")), s.submit("h", meet("y", "x"))}
	for _, job := range jobs {
		if x, out := s.ends(job, "h"); x.State != "succeeded" || out != "met\n" {
			t.Errorf("%+v, %q", x, out)
		}
	}
	if p := rexagent(t, "", "doctor", "--config", config); p.ended() != 0 {
		t.Errorf("doctor: %s", p.err.String())
	}
	h, err := s.Host(t.Context(), "h")
	if err != nil || h.Facts["arch"] == "" || h.Facts["kernel"] == "" {
		t.Errorf("facts %v, %v", h.Facts, err)
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"version"}, nil, &out, &out); code != 0 || !strings.HasPrefix(out.String(), "rexagent ") {
		t.Errorf("status %d: %s", code, out.String())
	}
}
