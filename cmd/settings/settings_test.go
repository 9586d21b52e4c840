package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

type flags struct {
	listen  string
	ttl     time.Duration
	plain   bool
	limit   int
	scopes  []string
	labels  map[string]string
	once    bool
	unused  string
	allSets *pflag.FlagSet
}

func newFlags(t *testing.T, args ...string) *flags {
	t.Helper()
	f := &flags{allSets: pflag.NewFlagSet("t", pflag.ContinueOnError)}
	fs := f.allSets
	fs.String("config", "", "")
	fs.StringVar(&f.listen, "listen", "127.0.0.1:8080", "")
	fs.DurationVar(&f.ttl, "lease-ttl", time.Second, "")
	fs.BoolVar(&f.plain, "behind-proxy", false, "")
	fs.IntVar(&f.limit, "limit", 7, "")
	fs.StringSliceVar(&f.scopes, "scopes", nil, "")
	fs.StringToStringVar(&f.labels, "label", nil, "")
	fs.BoolVar(&f.once, "once", false, "")
	fs.StringVar(&f.unused, "unused", "", "")
	if err := CommandLineOnly(fs, "once"); err != nil {
		t.Fatal(err)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

func env(kv ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1], true
			}
		}
		return "", false
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "rexgate.yaml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPrecedence(t *testing.T) {
	path := write(t, `
listen: "file:1"
lease-ttl: 3s
behind-proxy: true
limit: 11
scopes: [jobs:read, "jobs:submit"]
label: {role: "a,b", site: 'x"y=z'}
`)
	f := newFlags(t, "--config", path, "--listen", "flag:1")
	got, err := Load(f.allSets, Options{Prefix: PrefixGate, Lookup: env(
		"REXGATE_LISTEN", "env:1", "REXGATE_LEASE_TTL", "5s", "REXGATE_LIMIT", "", "REXGATE_ONCE", "true")})
	if err != nil {
		t.Fatal(err)
	}
	if f.listen != "flag:1" || f.ttl != 5*time.Second || !f.plain || f.limit != 11 || f.once || f.unused != "" {
		t.Errorf("wrong values: %+v", f)
	}
	if strings.Join(f.scopes, "|") != "jobs:read|jobs:submit" {
		t.Errorf("scopes: %q", f.scopes)
	}
	if len(f.labels) != 2 || f.labels["role"] != "a,b" || f.labels["site"] != `x"y=z` {
		t.Errorf("labels: %q", f.labels)
	}
	sources := map[string]Source{}
	for _, s := range got {
		sources[s.Name] = s.Source
	}
	want := map[string]Source{"listen": FromFlag, "lease-ttl": FromEnv, "behind-proxy": FromFile,
		"limit": FromFile, "scopes": FromFile, "label": FromFile, "unused": FromDefault}
	if len(sources) != len(want) {
		t.Errorf("settings: %v", sources)
	}
	for k, v := range want {
		if sources[k] != v {
			t.Errorf("%s came from %q, want %q", k, sources[k], v)
		}
	}
}

func TestFileFromEnvironmentAndDefault(t *testing.T) {
	path := write(t, "listen: x:1\n")
	f := newFlags(t)
	if _, err := Load(f.allSets, Options{Prefix: PrefixCtl, Lookup: env("REXCTL_CONFIG", path)}); err != nil || f.listen != "x:1" {
		t.Errorf("by variable: %q %v", f.listen, err)
	}
	f = newFlags(t)
	if _, err := Load(f.allSets, Options{Lookup: env(), DefaultFile: path}); err != nil || f.listen != "x:1" {
		t.Errorf("by default: %q %v", f.listen, err)
	}
	f = newFlags(t)
	if _, err := Load(f.allSets, Options{Lookup: env(), DefaultFile: path + ".no"}); err != nil {
		t.Errorf("a default file that isn't there: %v", err)
	}
	f = newFlags(t, "--config", path+".no")
	if _, err := Load(f.allSets, Options{Lookup: env()}); err == nil || !strings.Contains(err.Error(), path+".no") {
		t.Errorf("a named file that isn't there: %v", err)
	}
}

func TestErrorsNamePlaceAndKey(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"listen: a\nlistn: b\n", `:2: unknown key "listn"`},
		{"once: true\n", `:1: unknown key "once"`},
		{"config: x\n", `:1: unknown key "config"`},
		{"listen: a\nlisten: b\n", `:2: key "listen" is there twice, first in line 1`},
		{"\nlease-ttl: soon\n", `:2: lease-ttl: `},
		{"listen: [a]\n", `:1: listen: takes one value, not a list`},
		{"listen: {a: b}\n", `:1: listen: takes a value, not a mapping`},
		{"listen:\n", `:1: listen: has no value`},
		{"- a\n", `:1: not a mapping`},
		{"a: b\n---\nc: d\n", `more than one YAML document`},
		{"a: [\n", `rexgate.yaml: yaml:`},
	} {
		path := write(t, c.text)
		f := newFlags(t, "--config", path)
		_, err := Load(f.allSets, Options{Lookup: env()})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want ...%s", c.text, err, c.want)
		}
	}
	f := newFlags(t)
	_, err := Load(f.allSets, Options{Prefix: PrefixGate, Lookup: env("REXGATE_LEASE_TTL", "soon")})
	if err == nil || !strings.Contains(err.Error(), "REXGATE_LEASE_TTL") {
		t.Errorf("bad variable: %v", err)
	}
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		f := newFlags(t, "--config", write(t, text))
		if _, err := Load(f.allSets, Options{Lookup: env()}); err != nil {
			t.Errorf("empty file %q: %v", text, err)
		}
	}
}

func TestKeysOfOtherCommands(t *testing.T) {
	other := pflag.NewFlagSet("other", pflag.ContinueOnError)
	other.String("redis", "", "")
	f := newFlags(t, "--config", write(t, "redis: x\nlisten: y:1\n"))
	if _, err := Load(f.allSets, Options{Lookup: env(), Also: []*pflag.FlagSet{other}}); err != nil || f.listen != "y:1" {
		t.Errorf("%q %v", f.listen, err)
	}
}

func TestReadSecret(t *testing.T) {
	if s, err := ReadSecret(write(t, "p w\r\n")); err != nil || s != "p w" {
		t.Errorf("%q %v", s, err)
	}
	if _, err := ReadSecret(write(t, "\n")); err == nil {
		t.Error("an empty secret was taken")
	}
	if _, err := ReadSecret(write(t, strings.Repeat("x", maxFile+1))); err == nil {
		t.Error("a huge secret was taken")
	}
}
