// Package cmd_test holds the rules that concern all packages at once.
package cmd_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rexgate/rexgate/"

// rule says what the packages below a path may import. A trailing "/..." stands for
// the path and everything below it. The first rule that matches a package counts.
type rule struct {
	pkg    string
	ours   []string
	others []string // by prefix; the standard library is always allowed
}

var rules = []rule{
	{pkg: "queue", ours: nil},
	{pkg: "queue/queuetest", ours: []string{"queue"}, others: []string{"pgregory.net/rapid"}},
	{pkg: "queue/redisqueue/...", ours: []string{"queue", "queue/redisqueue/..."}, others: []string{"github.com/redis/go-redis/v9"}},
	{pkg: "queue/sqlitequeue", ours: []string{"queue"}, others: []string{"modernc.org/sqlite", "zombiezen.com/go/sqlite"}},
	{pkg: "session/wire", ours: nil},
	{pkg: "session", ours: []string{"queue", "session/wire"}},
	{pkg: "session/sessiontest", ours: []string{"queue", "session", "session/wire", "poll", "gateway/socket"}, others: []string{"github.com/coder/websocket"}},
	{pkg: "poll", ours: []string{"session", "session/wire", "queue"}, others: []string{"golang.org/x/time"}},
	{pkg: "gateway/api", ours: nil},
	{
		pkg: "gateway/...", ours: []string{"queue", "session", "session/wire", "poll", "web", "gateway/..."},
		others: []string{"github.com/coder/websocket", "github.com/gorilla/mux", "github.com/golang-jwt/jwt/v5", "golang.org/x/time", "golang.org/x/sync", "github.com/prometheus/client_golang"},
	},
	{pkg: "client/operator/...", ours: []string{"gateway/api", "client/operator/..."}, others: []string{"github.com/coder/websocket", "golang.org/x/sync"}},
	{
		pkg: "client/...", ours: []string{"session/wire", "client/..."},
		others: []string{"github.com/coder/websocket", "github.com/golang-jwt/jwt/v5", "golang.org/x/net", "golang.org/x/sys", "golang.org/x/time", "golang.org/x/sync"},
	},
	{pkg: "web", ours: nil},
	{pkg: "loadtest/faults/...", ours: []string{"client/...", "session/wire", "gateway/api", "queue", "loadtest/..."}, others: []string{"golang.org/x"}},
	{pkg: "loadtest/...", ours: []string{"client/...", "session/wire", "gateway/api", "loadtest/..."}, others: []string{"golang.org/x"}},
	{
		pkg: "cmd/...", ours: []string{"..."},
		others: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "go.yaml.in/yaml/v3", "golang.org/x", "github.com/coder/websocket"},
	},
}

// TestImports holds the table of the packages: who may import what. Test files are exempt.
func TestImports(t *testing.T) {
	for dir, files := range packages(t) {
		i := slices.IndexFunc(rules, func(r rule) bool { return covers(r.pkg, dir) })
		if i < 0 {
			t.Errorf("package %s is in no rule: packages are added to the table first", dir)
			continue
		}
		for _, file := range files {
			for _, path := range imports(t, file) {
				if why := rules[i].refuses(path); why != "" {
					t.Errorf("%s imports %s: %s", file, path, why)
				}
			}
		}
	}
}

func (r rule) refuses(path string) string {
	if rel, ok := strings.CutPrefix(path, module); ok {
		if slices.ContainsFunc(r.ours, func(p string) bool { return p == "..." || covers(p, rel) }) {
			return ""
		}
		return "of ours, " + r.pkg + " may import " + strings.Join(r.ours, ", ")
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return ""
	}
	if slices.ContainsFunc(r.others, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }) {
		return ""
	}
	return "of others, " + r.pkg + " may import " + strings.Join(r.others, ", ")
}

// TestTopLevel keeps the top level as it was agreed on.
func TestTopLevel(t *testing.T) {
	for dir := range packages(t) {
		top, _, _ := strings.Cut(dir, "/")
		if !slices.Contains([]string{"cmd", "gateway", "session", "poll", "queue", "client", "web", "loadtest", "docs"}, top) {
			t.Errorf("package %s: there is no top-level %s", dir, top)
		}
	}
}

// TestAgentHasNoServer checks that the agent's binary carries no store and no server.
func TestAgentHasNoServer(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", module+"cmd/rexagent").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, path := range strings.Fields(string(out)) {
		rel, ours := strings.CutPrefix(path, module)
		if ours && rel != "session/wire" && (covers("queue/...", rel) || covers("gateway/...", rel) || covers("session/...", rel) || covers("poll/...", rel)) {
			t.Errorf("rexagent contains %s", rel)
		}
		if strings.Contains(path, "sqlite") || strings.Contains(path, "go-redis") || strings.Contains(path, "gorilla/mux") {
			t.Errorf("rexagent contains %s", path)
		}
	}
}

// TestPackageDocs checks that every package says what it is for.
func TestPackageDocs(t *testing.T) {
	for dir, files := range packages(t) {
		documented := false
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || f.Doc.Text() != ""
		}
		if !documented {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

// covers tells whether a pattern of the table covers a package.
func covers(pattern, pkg string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	return pattern == pkg
}

// packages lists the non-test Go files by folder, relative to the module's root.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	root := ".."
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			rel, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			found[filepath.ToSlash(rel)] = append(found[filepath.ToSlash(rel)], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	paths := make([]string, len(f.Imports))
	for i, s := range f.Imports {
		paths[i] = strings.Trim(s.Path.Value, `"`)
	}
	return paths
}
