package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds a settings or secret file, in bytes.
const maxFile = 1 << 20

// fileValue is the value of a key in a settings file.
type fileValue struct {
	node *yaml.Node
	line int
}

func readFile(path string) (map[string]fileValue, error) {
	b, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one YAML document", path)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: not a mapping of settings", path, root.Line)
	}
	values := make(map[string]fileValue, len(root.Content)/2)
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("%s:%d: a key is not a name", path, k.Line)
		}
		if first, ok := values[k.Value]; ok {
			return nil, fmt.Errorf("%s:%d: key %q is there twice, first in line %d", path, k.Line, k.Value, first.line)
		}
		values[k.Value] = fileValue{node: v, line: k.Line}
	}
	return values, nil
}

// apply sets a flag: a scalar to any flag, a list to a list flag, a mapping to
// a key=value flag.
func (v fileValue) apply(fs *pflag.FlagSet, f *pflag.Flag) error {
	n := v.node
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return errors.New("has no value")
		}
		return fs.Set(f.Name, n.Value)
	case yaml.SequenceNode:
		list, ok := f.Value.(pflag.SliceValue)
		if !ok {
			return errors.New("takes one value, not a list")
		}
		var items []string
		if err := n.Decode(&items); err != nil {
			return errors.New("not a list of plain values")
		}
		if err := list.Replace(items); err != nil {
			return err
		}
		f.Changed = true
		return nil
	case yaml.MappingNode:
		if f.Value.Type() != "stringToString" {
			return errors.New("takes a value, not a mapping")
		}
		var m map[string]string
		if err := n.Decode(&m); err != nil {
			return errors.New("not a mapping of plain values")
		}
		for k, val := range m {
			if err := fs.Set(f.Name, csvPair(k, val)); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("not a usable value")
}

// ReadSecret reads a secret from a file: its text without the line end. Empty
// files are errors.
func ReadSecret(path string) (string, error) {
	b, err := readBounded(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	s := string(bytes.TrimRight(b, "\r\n"))
	if s == "" {
		return "", fmt.Errorf("secret: %s is empty", path)
	}
	return s, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	return b, nil
}

// csvPair quotes a pair for pflag's stringToString, which reads CSV.
func csvPair(k, v string) string {
	var b bytes.Buffer
	b.WriteByte('"')
	for _, r := range k + "=" + v {
		if r == '"' {
			b.WriteByte('"')
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}
