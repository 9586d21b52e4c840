package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Plan is what a script of the suite does. The same script is played by light hosts, and run by /bin/sh on others.
type Plan struct {
	Lines int `json:"lines"`
	Pad   int `json:"pad"`             // bytes that fill each line
	Every int `json:"every,omitempty"` // a pause after so many lines; 0 = none
	Pause int `json:"pause,omitempty"` // milliseconds
	Exit  int `json:"exit,omitempty"`
	// Endless has it stay after its last line until its time limit, or a cancel, ends it.
	Endless bool `json:"endless,omitempty"`
}

const (
	planMark = "# plan "
	// TraceVar names the variable that tells a script where the trace is.
	TraceVar = "FAULTS_TRACE"
	// stderrEvery says which lines go to stderr: each so many.
	stderrEvery = 4
)

// Script is the text of a plan.
func (p Plan) Script() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // of numbers and a bool
	}
	pause, endless := "", ""
	if p.Every > 0 {
		pause = fmt.Sprintf("  [ $((i %% %d)) = 0 ] && sleep %d.%03d\n", p.Every, p.Pause/1000, p.Pause%1000)
	}
	if p.Endless {
		endless = "sleep 3600\n"
	}
	return fmt.Sprintf(`#!/bin/sh
%s%s
echo "start $REXGATE_EXECUTION $(date +%%s%%N) $$" >> "$%s" || exit 99
i=1
while [ $i -le %d ]; do
  if [ $((i %% %d)) = 0 ]; then echo "$REXGATE_EXECUTION $i %s" >&2; else echo "$REXGATE_EXECUTION $i %[6]s"; fi
%s  i=$((i + 1))
done
%secho "end $REXGATE_EXECUTION $(date +%%s%%N) $$" >> "$%[3]s"
exit %[9]d
`, planMark, b, TraceVar, p.Lines, stderrEvery, strings.Repeat("x", p.Pad), pause, endless, p.Exit)
}

// ParsePlan reads the plan of a script.
func ParsePlan(script []byte) (p Plan, err error) {
	_, rest, ok := bytes.Cut(script, []byte("\n"+planMark))
	if !ok {
		return p, errors.New("the script has no plan")
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return p, json.Unmarshal(line, &p)
}

// Line is a line of an execution's output, and tells whether it goes to stderr. Lines are numbered from 1.
func (p Plan) Line(execution string, n int) (line string, stderr bool) {
	return fmt.Sprintf("%s %d %s\n", execution, n, strings.Repeat("x", p.Pad)), n%stderrEvery == 0
}

// Output is all that an execution prints.
func (p Plan) Output(execution string) (stdout, stderr []byte) {
	for n := 1; n <= p.Lines; n++ {
		line, toStderr := p.Line(execution, n)
		if toStderr {
			stderr = append(stderr, line...)
		} else {
			stdout = append(stdout, line...)
		}
	}
	return stdout, stderr
}
