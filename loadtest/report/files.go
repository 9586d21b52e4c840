package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Names of the files that Write makes. A plot's is its name and ".svg".
const (
	ResultFile = "result.json"
	TextFile   = "result.txt"
)

// Write puts a result into a folder, which is made if it isn't there: result.json, result.txt and the plots. Files
// of these names are replaced; nothing else in the folder is touched.
func Write(dir string, r *Result) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	b, err := Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, ResultFile), b, 0o666); err != nil {
		return err
	}
	return render(dir, r)
}

// render writes what is made of a result: text and plots.
func render(dir string, r *Result) error {
	var text bytes.Buffer
	if err := Text(&text, r); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, TextFile), text.Bytes(), 0o666); err != nil {
		return err
	}
	for _, p := range Plots(r) {
		if err := os.WriteFile(filepath.Join(dir, p.Name+".svg"), p.SVG, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// Marshal gives the JSON of a result. Arrays of series are on one line each.
func Marshal(r *Result) ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return append(flatten(b), '\n'), nil
}

// flatten joins the lines of arrays of plain values in indented JSON: a series has thousands.
func flatten(b []byte) []byte {
	lines := bytes.Split(b, []byte("\n"))
	var out bytes.Buffer
	for i := 0; i < len(lines); i++ {
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		out.Write(lines[i])
		if !bytes.HasSuffix(lines[i], []byte("[")) {
			continue
		}
		end := i + 1
		for end < len(lines) && !bytes.ContainsAny(bytes.TrimSpace(lines[end])[:1], "{[]") {
			end++
		}
		if end == len(lines) || !bytes.HasPrefix(bytes.TrimSpace(lines[end]), []byte("]")) {
			continue // of objects
		}
		for _, line := range lines[i+1 : end] {
			line = bytes.TrimSpace(line)
			out.Write(line)
			if bytes.HasSuffix(line, []byte(",")) {
				out.WriteByte(' ')
			}
		}
		out.Write(bytes.TrimSpace(lines[end]))
		i = end
	}
	return out.Bytes()
}

// Read reads a result back, from a file or from the folder that Write made.
func Read(path string) (*Result, error) {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		path = filepath.Join(path, ResultFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Result)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Format < 1 || r.Format > Format {
		return nil, fmt.Errorf("%s: format %d, and this program reads 1 to %d", path, r.Format, Format)
	}
	for _, s := range r.Series {
		if len(s.Times) != len(s.Values) {
			return nil, fmt.Errorf("%s: series %s of %s has %d times and %d values", path, s.Metric, s.Of, len(s.Times), len(s.Values))
		}
	}
	return r, nil
}

// Show makes text and plots of a folder's result.json anew, with this version's looks, and writes the text
// to w as well.
func Show(w io.Writer, dir string) error {
	r, err := Read(dir)
	if err != nil {
		return err
	}
	if err := render(dir, r); err != nil {
		return err
	}
	return Text(w, r)
}
