package main

import (
	"encoding/json"
	"io"
	"os"

	"github.com/rexgate/rexgate/loadtest/report"
)

// show writes the report.
func show(r *report.Result, dir string, out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", " ")
	r2 := *r
	r2.Series = nil
	if dir != "" {
		os.MkdirAll(dir, 0o755)
	}
	return enc.Encode(r2)
}
