package archtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/seed-796a8800/tritium"
)

// mayImport lists, for our own packages, which of our own packages they may
// import outside of tests. A trailing "/..." means the package and everything
// below it. The longest matching key counts; a package may always import what
// is below itself, but for quantize/evaluate: what quantizes must not know what
// judges it, nor the other way round. What is not listed is forbidden, so that
// a new edge is a decision that shows in a diff of this table.
var mayImport = map[string][]string{
	"graph":            {},
	"ops":              {"graph", "internal/mxfp4", "internal/routing", "internal/t16/..."},
	"ops/internal/...": {},
	"ternaryop":        {"graph", "internal/routing", "internal/t16/..."},

	"gptoss":           {"graph", "ops", "ternaryop", "internal/largepages", "internal/rans", "internal/safetensors", "internal/mxfp4", "internal/atomicfile", "internal/hub", "internal/gguf"},
	"gptoss/tokenizer": {},
	"gptoss/harmony":   {"gptoss/tokenizer"},
	"gptoss/constrain": {"gptoss/tokenizer"},

	"quantize": {"graph", "ops", "ternaryop", "gptoss/...", "internal/routing", "internal/rans",
		"internal/units", "internal/safetensors", "internal/mxfp4", "internal/atomicfile", "internal/hub", "internal/gguf"},
	"quantize/evaluate": {"graph", "ops", "gptoss/...", "internal/atomicfile"},

	"internal/safetensors": {"internal/atomicfile"},
	"internal/gguf":        {"internal/atomicfile", "internal/safetensors"},
	"internal/hub":         {"internal/atomicfile"},
	"internal/units":       {"internal/atomicfile"},
	"internal/reference":   {"internal/safetensors"},
	"internal/server":      {"graph", "gptoss/..."},
	"internal/...":         {},

	"cmd/...":  {"..."},
	"testdata": {},
}

// onlyInTests are never imported by product code.
var onlyInTests = []string{
	module + "/internal/reference",
	module + "/internal/hub/hubtest",
	"pgregory.net/rapid",
	"github.com/rogpeppe/go-internal",
	"github.com/google/go-cmp",
	"go.uber.org/goleak",
	"github.com/google/jsonschema-go",
	"github.com/nlpodyssey/safetensors",
	"github.com/pkoukk/tiktoken-go",
}

// platforms differ in their files and so in their imports.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"}

// listed is what is read of `go list -json`.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// offline keeps the go command from asking the network; what is missing is an
// error.
func offline(extra ...string) []string {
	return append(append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=readonly", "GOWORK=off"), extra...)
}

// list returns the module's packages for one platform.
func list(t *testing.T, platform string) []listed {
	t.Helper()
	goos, goarch, _ := strings.Cut(platform, "/")
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...", "./testdata")
	cmd.Dir = root
	cmd.Env = offline("GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImports(t *testing.T) {
	offenders := map[string]bool{}
	for _, platform := range platforms {
		packages := list(t, platform)
		if len(packages) < 10 {
			t.Fatalf("go list names only %d packages for %s", len(packages), platform)
		}
		for _, o := range append(forbidden(packages), reaches(packages, "quantize/evaluate", "quantize")...) {
			offenders[o] = true
		}
	}
	report(t, slices.Sorted(maps.Keys(offenders)))
}

// forbidden returns the edges that break a rule.
func forbidden(packages []listed) (offenders []string) {
	for _, p := range packages {
		from, _ := ours(p.ImportPath)
		for _, to := range p.Imports {
			if why := refuse(from, to); why != "" {
				offenders = append(offenders, fmt.Sprintf("%s imports %s: %s", from, short(to), why))
			}
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			if to, ok := ours(to); ok && matches("cmd/...", to) && from != to {
				offenders = append(offenders, fmt.Sprintf("a test of %s imports %s: nothing imports a command", from, to))
			}
		}
	}
	return offenders
}

// refuse says why product code of package from may not import to, or "".
func refuse(from, to string) string {
	for _, lib := range onlyInTests {
		if to == lib || strings.HasPrefix(to, lib+"/") {
			return "that is for tests"
		}
	}
	if target, ok := ours(to); ok {
		return refuseOurs(from, target)
	}
	numeric := to == "gorgonia.org/gorgonia" || to == "gorgonia.org/tensor"
	standard := !strings.Contains(strings.SplitN(to, "/", 2)[0], ".")
	switch {
	case (strings.Contains(from, "internal/kernel") || strings.HasPrefix(from, "internal/t16")) && !standard && to != "golang.org/x/sys/cpu":
		return "kernels see slices, nothing else"
	case strings.HasPrefix(from, "internal/") && numeric:
		return "formats and protocols know no graph"
	}
	return ""
}

func refuseOurs(from, to string) string {
	if strings.HasPrefix(to, from+"/") && !matches("quantize/evaluate", to) {
		return ""
	}
	rule, ok := ruleOf(from)
	if !ok {
		return "mayImport in internal/archtest has no rule for " + from + "; decide what it may import"
	}
	if !slices.ContainsFunc(mayImport[rule], func(pattern string) bool { return matches(pattern, to) }) {
		return fmt.Sprintf("mayImport in internal/archtest does not list it for %s", rule)
	}
	return ""
}

// ruleOf returns the longest key of mayImport that matches a package.
func ruleOf(pkg string) (string, bool) {
	var keys []string
	for k := range mayImport {
		if matches(k, pkg) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return "", false
	}
	return slices.MaxFunc(keys, func(a, b string) int {
		return cmp.Compare(len(strings.TrimSuffix(a, "...")), len(strings.TrimSuffix(b, "...")))
	}), true
}

// reaches says through which chain of our packages one package gets to
// another.
func reaches(packages []listed, from, to string) []string {
	edges := map[string][]string{}
	for _, p := range packages {
		name, _ := ours(p.ImportPath)
		for _, i := range p.Imports {
			if target, ok := ours(i); ok {
				edges[name] = append(edges[name], target)
			}
		}
	}
	seen := map[string]bool{}
	var walk func(at string, path []string) []string
	walk = func(at string, path []string) []string {
		if at == to {
			return []string{strings.Join(path, " -> ") + ": never, directly or not"}
		}
		if seen[at] {
			return nil
		}
		seen[at] = true
		for _, next := range edges[at] {
			if found := walk(next, append(path, next)); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(from, []string{from})
}

// matches says whether a pattern of mayImport matches a package.
func matches(pattern, pkg string) bool {
	prefix, tree := strings.CutSuffix(pattern, "...")
	if !tree {
		return pattern == pkg
	}
	return strings.HasPrefix(pkg+"/", prefix)
}

// ours returns an import path without the module, and whether it is in it.
func ours(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func short(path string) string {
	s, _ := ours(path)
	return s
}

func report(t *testing.T, offenders []string) {
	t.Helper()
	if len(offenders) > 0 {
		t.Errorf("%d against the rules:\n  %s", len(offenders), strings.Join(offenders, "\n  "))
	}
}

// TestRefuse checks that the rules would notice what they are there for.
func TestRefuse(t *testing.T) {
	for _, e := range []struct {
		from, to string
		allowed  bool
	}{
		{"ops", module + "/graph", true},
		{"ops", module + "/ops/internal/kernel", true},
		{"ops/internal/kernel", module + "/ops/internal/kernel/fmapeak", true},
		{"ops", module + "/ternaryop", false},
		{"ternaryop", module + "/ops", false},
		{"ternaryop", module + "/internal/mxfp4", false},
		{"graph", module + "/internal/routing", false},
		{"gptoss", module + "/quantize", false},
		{"gptoss/tokenizer", module + "/gptoss", false},
		{"quantize", module + "/gptoss/tokenizer", true},
		{"quantize", module + "/quantize/evaluate", false},
		{"quantize/evaluate", module + "/quantize", false},
		{"quantize/evaluate", module + "/gptoss", true},
		{"internal/server", module + "/quantize", false},
		{"gptoss", module + "/cmd/tritium", false},
		{"cmd/tritium", module + "/quantize/evaluate", true},
		{"cmd/tritium", module + "/internal/reference", false},
		{"novelty", module + "/graph", false},
		{"ops/internal/kernel", "golang.org/x/sys/cpu", true},
		{"ops/internal/kernel", "math", true},
		{"internal/t16", "gorgonia.org/tensor", false},
		{"internal/safetensors", "gorgonia.org/tensor", false},
		{"gptoss", "pgregory.net/rapid", false},
		{"gptoss/tokenizer", "github.com/pkoukk/tiktoken-go", false},
	} {
		if why := refuse(e.from, e.to); (why == "") != e.allowed {
			t.Errorf("%s imports %s: allowed is %v, want %v (%s)", e.from, e.to, why == "", e.allowed, why)
		}
	}
	chain := []listed{
		{ImportPath: module + "/quantize/evaluate", Imports: []string{module + "/gptoss"}},
		{ImportPath: module + "/gptoss", Imports: []string{module + "/quantize"}},
	}
	if got := reaches(chain, "quantize/evaluate", "quantize"); len(got) != 1 {
		t.Errorf("quantize/evaluate -> gptoss -> quantize is not noticed: %v", got)
	}
}
