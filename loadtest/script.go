package loadtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rexgate/rexgate/client/runner"
)

// Step is one thing that a script does: it waits, and then prints.
type Step struct {
	Sleep  time.Duration
	Output string
}

// ParseScript reads a script of the commands that a simulated host knows: `echo WORDS` and
// `sleep SECONDS`, separated by semicolons or lines, with comments. Whatever a shell would read in another
// way is refused: a *runner.RefusedError says what.
func ParseScript(script string) ([]Step, error) {
	var steps []Step
	var now Step
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for command := range strings.SplitSeq(line, ";") {
			words := strings.Fields(command)
			if len(words) == 0 {
				continue
			}
			if i := strings.IndexAny(command, "\\\"'`$&|<>(){}[]*?~#!="); i >= 0 {
				return nil, refuse("%q in %q", command[i], strings.TrimSpace(command))
			}
			switch {
			case words[0] == "echo" && (len(words) == 1 || words[1][0] != '-'):
				now.Output += strings.Join(words[1:], " ") + "\n"
			case words[0] == "sleep" && len(words) == 2:
				d, err := parseSeconds(words[1])
				if err != nil {
					return nil, err
				}
				if now != (Step{}) {
					steps = append(steps, now)
				}
				now = Step{Sleep: d}
			default:
				return nil, refuse("the command %q", strings.Join(words, " "))
			}
		}
	}
	if now != (Step{}) {
		steps = append(steps, now)
	}
	return steps, nil
}

func refuse(format string, args ...any) error {
	return &runner.RefusedError{Reason: fmt.Sprintf("a simulated host knows echo with plain words and sleep with seconds, not "+format, args...)}
}

// maxSleep bounds a sleep, so that no sum of sleeps overflows.
const maxSleep = 1 << 30 * time.Second

func parseSeconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0) || f > maxSleep.Seconds() {
		return 0, refuse("a sleep of %q", s)
	}
	return time.Duration(f * float64(time.Second)), nil
}

// Printed is what a script prints.
func Printed(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.Output)
	}
	return b.String()
}

// Lasting is how long a script takes at least.
func Lasting(steps []Step) time.Duration {
	var d time.Duration
	for _, s := range steps {
		d += s.Sleep
	}
	return d
}
