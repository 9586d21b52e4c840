// Package settings fills a command's flags from where they were not given:
// flags > environment > YAML file > the flag's default.
//
// The flags are the one definition of what can be set. The flag --tls-cert is
// the variable PREFIX_TLS_CERT and the key "tls-cert" of the file. An empty
// variable counts as not set. Keys of the file that name no flag are errors
// that give the file, the line and the key; so are values that don't parse.
// Variables that name no flag are ignored: Kubernetes sets such ones for
// every service (REXGATE_PORT, ...).
//
// Secrets come from files: a flag that needs one takes a path, and
// [ReadSecret] reads it.
package settings

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/spf13/pflag"
)

// Prefixes of the environment variables of each command.
const (
	PrefixGate  = "REXGATE_"
	PrefixAgent = "REXAGENT_"
	PrefixCtl   = "REXCTL_"
)

// FileFlag is the name of the flag that names the YAML file.
const FileFlag = "config"

// Source is where a setting's value came from.
type Source string

// The sources, strongest first.
const (
	FromFlag    Source = "flag"
	FromEnv     Source = "environment"
	FromFile    Source = "file"
	FromDefault Source = "default"
)

// Options says where settings come from besides the command line.
type Options struct {
	Prefix string // of environment variables, with its underscore
	// Lookup reads the environment; nil = os.LookupEnv.
	Lookup func(name string) (string, bool)
	// DefaultFile is read if no file is named and it exists; "" = none.
	DefaultFile string
	// Also holds flags of other commands that read the same file: their keys are
	// known, and ignored here.
	Also []*pflag.FlagSet
}

// Setting is one effective setting.
type Setting struct {
	Name   string
	Value  string
	Source Source
	// Origin is the variable or the file and line; "" for flags and defaults.
	Origin string
}

// Load fills the flags that were not given on the command line. Call it once,
// after parsing; a cobra command does so in its PersistentPreRunE with
// cmd.Flags(). If fs has a flag called "config", it (or its variable) names the
// file. It returns every setting with its source, sorted by name, without
// "config" and "help". Flags marked by [CommandLineOnly] are neither read from
// elsewhere nor listed.
func Load(fs *pflag.FlagSet, o Options) ([]Setting, error) {
	lookup := o.Lookup
	if lookup == nil {
		lookup = os.LookupEnv
	}
	path, err := filePath(fs, o, lookup)
	if err != nil {
		return nil, err
	}
	var file map[string]fileValue
	if path != "" {
		if file, err = readFile(path); err != nil {
			return nil, err
		}
		if err := checkKeys(path, file, append([]*pflag.FlagSet{fs}, o.Also...)); err != nil {
			return nil, err
		}
	}
	var out []Setting
	fs.VisitAll(func(f *pflag.Flag) {
		if err != nil || !settable(f) {
			return
		}
		s := Setting{Name: f.Name, Source: FromDefault}
		if f.Changed {
			s.Source = FromFlag
		} else if v, ok := lookup(EnvName(o.Prefix, f.Name)); ok && v != "" {
			s.Source, s.Origin = FromEnv, EnvName(o.Prefix, f.Name)
			if e := fs.Set(f.Name, v); e != nil {
				err = fmt.Errorf("%s: %w", s.Origin, e)
				return
			}
		} else if fv, ok := file[f.Name]; ok {
			s.Source, s.Origin = FromFile, fmt.Sprintf("%s:%d", path, fv.line)
			if e := fv.apply(fs, f); e != nil {
				err = fmt.Errorf("%s: %s: %w", s.Origin, f.Name, e)
				return
			}
		}
		s.Value = f.Value.String()
		out = append(out, s)
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// EnvName is the environment variable of a flag.
func EnvName(prefix, flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

const commandLineOnly = "rexgate_command_line_only"

// CommandLineOnly marks flags that make no sense in a file or the environment,
// such as --once.
func CommandLineOnly(fs *pflag.FlagSet, names ...string) error {
	for _, n := range names {
		if err := fs.SetAnnotation(n, commandLineOnly, []string{"true"}); err != nil {
			return err
		}
	}
	return nil
}

func settable(f *pflag.Flag) bool {
	_, only := f.Annotations[commandLineOnly]
	return !only && f.Name != "help" && f.Name != "version" && f.Name != FileFlag
}

func filePath(fs *pflag.FlagSet, o Options, lookup func(string) (string, bool)) (string, error) {
	if f := fs.Lookup(FileFlag); f != nil {
		if f.Changed {
			return f.Value.String(), nil
		}
		if v, ok := lookup(EnvName(o.Prefix, FileFlag)); ok && v != "" {
			return v, fs.Set(FileFlag, v)
		}
		if v := f.Value.String(); v != "" {
			return v, nil
		}
	}
	if o.DefaultFile == "" {
		return "", nil
	}
	if _, err := os.Stat(o.DefaultFile); err != nil {
		if os.IsNotExist(err) {
			return "", nil
		}
		return "", fmt.Errorf("settings file: %w", err)
	}
	return o.DefaultFile, nil
}

func checkKeys(path string, file map[string]fileValue, sets []*pflag.FlagSet) error {
	var unknown []string
	for key := range file {
		known := false
		for _, fs := range sets {
			if f := fs.Lookup(key); f != nil && settable(f) {
				known = true
				break
			}
		}
		if !known {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	sort.Slice(unknown, func(i, j int) bool { return file[unknown[i]].line < file[unknown[j]].line })
	return fmt.Errorf("%s:%d: unknown key %q", path, file[unknown[0]].line, unknown[0])
}
