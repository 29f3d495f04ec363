package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Limits of the house rules, in lines as an editor counts them.
const (
	maxFile     = 400
	maxTestFile = 600
	maxFunc     = 60
	maxTestFunc = 90 // a table of cases counts
)

// source is one parsed Go file of the project.
type source struct {
	dir  string // slash-separated, relative to the root; "." is the root
	name string
	*ast.File
	set *token.FileSet
}

func (s *source) test() bool    { return strings.HasSuffix(s.name, "_test.go") }
func (s *source) command() bool { return s.dir == "cmd" || strings.HasPrefix(s.dir, "cmd/") }

// public says whether other modules can import the package.
func (s *source) public() bool {
	return !s.command() && !slices.Contains(strings.Split(s.dir, "/"), "internal")
}

func (s *source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", path.Join(s.dir, s.name), s.set.Position(n.Pos()).Line)
}

func (s *source) lines(n ast.Node) int {
	return s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1
}

// sources parses every Go file of the module, for whatever platform it is.
func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && file != root && strings.HasPrefix(name, ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		all = append(all, &source{filepath.ToSlash(rel), filepath.Base(file), f, set})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("found only %d Go files below %s", len(all), root)
	}
	return all
}

// TestSizes: a file or a function that grows beyond its limit wants to be two.
func TestSizes(t *testing.T) {
	var offenders []string
	for _, s := range sources(t) {
		if ast.IsGenerated(s.File) {
			continue
		}
		limit, funcLimit := maxFile, maxFunc
		if s.test() {
			limit, funcLimit = maxTestFile, maxTestFunc
		}
		if n := s.set.File(s.FileStart).LineCount(); n > limit {
			offenders = append(offenders, fmt.Sprintf("%s/%s has %d lines, at most %d", s.dir, s.name, n, limit))
		}
		for _, d := range s.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || s.dir == "gptoss" && strings.HasPrefix(f.Name.Name, "Declare") {
				continue // the declaration reads like the architecture's diagram
			}
			if n := s.lines(f); n > funcLimit {
				offenders = append(offenders, fmt.Sprintf("%s: %s has %d lines, at most %d", s.at(f), f.Name.Name, n, funcLimit))
			}
		}
	}
	report(t, offenders)
}

// TestNames: a name that says nothing collects what belongs elsewhere.
func TestNames(t *testing.T) {
	var offenders []string
	banned := []string{"util", "utils", "common", "helper", "helpers", "misc"}
	for _, s := range sources(t) {
		if name := s.Name.Name; slices.Contains(banned, strings.TrimSuffix(name, "_test")) {
			offenders = append(offenders, fmt.Sprintf("%s/%s: package %s", s.dir, s.name, name))
		}
		base := strings.TrimSuffix(strings.TrimSuffix(s.name, ".go"), "_test")
		if slices.Contains(banned, base) {
			offenders = append(offenders, fmt.Sprintf("%s/%s: file name", s.dir, s.name))
		}
	}
	report(t, offenders)
}

// effects are the functions and variables through which a library would act
// behind its caller's back, by import path. "" stands for the whole package.
var effects = map[string][]string{
	"log": {""},
	"log/slog": {"Debug", "DebugContext", "Info", "InfoContext", "Warn", "WarnContext", "Error", "ErrorContext",
		"Log", "LogAttrs", "Default", "SetDefault", "SetLogLoggerLevel"}, // a Logger that was handed in is fine
	"os":            {"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Exit", "Stdin", "Stdout", "Stderr", "Args"},
	"syscall":       {"Getenv", "Environ", "Exit"},
	"fmt":           {"Print", "Printf", "Println"},
	"flag":          {""},
	"os/signal":     {""},
	"runtime/debug": {"SetGCPercent", "SetMemoryLimit"},
}

// TestLibrariesKeepQuiet: libraries never log, print, exit, read the
// environment or run code at start.
func TestLibrariesKeepQuiet(t *testing.T) {
	var offenders []string
	for _, s := range sources(t) {
		if s.test() || s.command() || s.Name.Name == "main" {
			continue
		}
		offenders = append(offenders, noise(s)...)
	}
	report(t, offenders)
}

func noise(s *source) (offenders []string) {
	imported := map[string]string{} // name in the file -> import path
	for _, i := range s.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		imported[name] = p
		if slices.Contains(effects[p], "") {
			offenders = append(offenders, fmt.Sprintf("%s: imports %s", s.at(i), p))
		}
	}
	ast.Inspect(s.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				offenders = append(offenders, s.at(n)+": func init")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && slices.Contains(effects[imported[x.Name]], n.Sel.Name) {
				offenders = append(offenders, fmt.Sprintf("%s: %s.%s", s.at(n), imported[x.Name], n.Sel.Name))
			}
		case *ast.CallExpr:
			if x, ok := n.Fun.(*ast.Ident); ok && (x.Name == "println" || x.Name == "print") {
				offenders = append(offenders, fmt.Sprintf("%s: %s", s.at(n), x.Name))
			}
		}
		return true
	})
	return offenders
}

// TestNoise checks that noise would be noticed.
func TestNoise(t *testing.T) {
	const code = `package p
import ("log"; env "os"; "fmt"; "log/slog")
func init() { println(1) }
func f(l *slog.Logger) { l.Info(""); slog.Info(""); fmt.Sprint(); fmt.Println(); env.Getenv(""); env.Open("") }
func (t T) init() { log.Print() }
`
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "p.go", code, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := noise(&source{dir: "p", name: "p.go", File: f, set: set})
	want := []string{"p/p.go:2: imports log", "p/p.go:3: func init", "p/p.go:3: println",
		"p/p.go:4: log/slog.Info", "p/p.go:4: fmt.Println", "p/p.go:4: os.Getenv"}
	if !slices.Equal(got, want) {
		t.Errorf("noticed %q, want %q", got, want)
	}
}
