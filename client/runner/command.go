package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
)

// executionVar names the variable that tells a script, and what it leaves behind, by its execution.
const executionVar = "REXGATE_EXECUTION"

// searchPath is the PATH that scripts get.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// interpreter gives the command line that runs a script kept in a file, as the
// kernel would form it: the interpreter of its #! line, with at most one argument;
// /bin/sh without one; the file itself if it is a binary. The interpreter is
// always named here, so that nothing depends on whether the file may be executed where it is.
func interpreter(script []byte, file string) ([]string, error) {
	line, _, _ := bytes.Cut(script, []byte("\n"))
	if bytes.HasPrefix(script, []byte("\x7fELF")) {
		return []string{file}, nil
	}
	if bytes.HasSuffix(line, []byte("\r")) {
		return nil, errors.New("the script has Windows line endings (CRLF): its first line ends in a carriage return; convert it to LF")
	}
	rest, ok := bytes.CutPrefix(line, []byte("#!"))
	if !ok {
		return []string{"/bin/sh", file}, nil
	}
	name, arg := strings.Trim(string(rest), " \t"), ""
	if i := strings.IndexAny(name, " \t"); i >= 0 {
		name, arg = name[:i], strings.Trim(name[i:], " \t")
	}
	switch {
	case name == "":
		return nil, errors.New("the script's first line is #! without an interpreter")
	case arg == "":
		return []string{name, file}, nil
	}
	return []string{name, arg, file}, nil
}

// environment is what a script gets: little, and then the job's own. By executionVar the script's processes are found.
func environment(spec Spec, acc Account) []string {
	env := map[string]string{
		"PATH":    searchPath,
		"HOME":    acc.Home,
		"USER":    acc.Name,
		"LOGNAME": acc.Name,
		"SHELL":   acc.Shell,
		"LANG":    "C.UTF-8",
	}
	if lang := os.Getenv("LANG"); lang != "" {
		env["LANG"] = lang
	}
	maps.Copy(env, spec.Env)
	env[executionVar] = spec.Execution
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// workDir is where a script runs. Homes that were never made are common among
// the accounts of services; a directory that a job names must be there.
func workDir(spec Spec, acc Account) (string, error) {
	if spec.Dir == "" {
		if info, err := os.Stat(acc.Home); err != nil || !info.IsDir() || !acc.mayEnter(info) {
			return "/", nil
		}
		return acc.Home, nil
	}
	info, err := os.Stat(spec.Dir)
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("working directory: %s is not a directory", spec.Dir)
	}
	if !acc.mayEnter(info) {
		return "", fmt.Errorf("working directory: %s may not enter %s", acc.Name, spec.Dir)
	}
	return spec.Dir, nil
}

// launch forks the script: in a session and process group of its own, and in a cgroup unless that
// is nil, as its user, reading /dev/null, writing to the two files. The error is for people.
func launch(spec Spec, acc Account, file string, stdout, stderr, cgroup *os.File) (*os.Process, error) {
	argv, err := interpreter(spec.Script, file)
	if err != nil {
		return nil, err
	}
	dir, err := workDir(spec, acc)
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &syscall.SysProcAttr{Setsid: true}
	if cgroup != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(cgroup.Fd())
	}
	if acc.Switch {
		attr.Credential = &syscall.Credential{Uid: acc.UID, Gid: acc.GID, Groups: acc.Groups}
	}
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: dir, Env: environment(spec, acc), Files: []*os.File{null, stdout, stderr}, Sys: attr,
	})
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the script's interpreter %s doesn't exist on this host", argv[0])
	case errors.Is(err, syscall.ENOEXEC):
		return nil, fmt.Errorf("%s isn't in a format that this host can execute", argv[0])
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	return nil, fmt.Errorf("%s can't be executed in %s as %s: %w", argv[0], dir, acc.Name, errno)
}
