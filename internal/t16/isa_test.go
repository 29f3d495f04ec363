package t16

import (
	"flag"
	"slices"
	"strings"
	"testing"
)

// require names instruction sets that the machine must have, so that CI cannot skip one silently.
var require = flag.String("require", "", "comma-separated instruction sets that must be present")

// isa is one set of kernels; use switches the package to it.
type isa struct {
	name string
	have bool
	use  func()
}

func TestRequiredISAs(t *testing.T) {
	for name := range strings.SplitSeq(*require, ",") {
		if name != "" && !slices.ContainsFunc(isas(), func(i isa) bool { return i.name == name && i.have }) {
			t.Errorf("-require: this build and machine have no %q", name)
		}
	}
}

// eachISA runs f once per instruction set that the machine has, the package switched to it.
func eachISA[T interface {
	testing.TB
	Run(string, func(T)) bool
}](t T, f func(T)) {
	for _, i := range isas() {
		if !i.have {
			continue
		}
		t.Run("isa="+i.name, func(t T) {
			use(i)
			f(t)
		})
	}
	use(best())
}

func use(i isa) { i.use() }

// best is what the package starts with: the first instruction set that the machine has.
func best() isa {
	list := isas()
	return list[slices.IndexFunc(list, func(i isa) bool { return i.have })]
}

// withGeneric runs f on the portable kernels and switches back.
func withGeneric(t testing.TB, f func()) {
	t.Helper()
	defer current()()
	list := isas()
	use(list[len(list)-1])
	f()
}
