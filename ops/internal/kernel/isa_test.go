package kernel

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var require = flag.String("require", "", "comma-separated instruction sets the machine must have, such as avx512,avx2")

// isa is one rung of the dispatch ladder.
type isa struct {
	name string
	use  *bool
	have bool
}

// TestMain fails a run that promises an instruction set the machine or the
// build lacks, so that its tests cannot go missing unnoticed.
func TestMain(m *testing.M) {
	flag.Parse()
	have := map[string]bool{"generic": true}
	for _, s := range instructionSets {
		have[s.name] = s.have
	}
	for name := range strings.SplitSeq(*require, ",") {
		if name != "" && !have[name] {
			os.Stderr.WriteString("kernel: -require=" + *require + ": no " + name + " on this machine or in this build\n")
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

type runner[T any] interface {
	testing.TB
	Run(string, func(T)) bool
}

// eachISA runs f once per instruction set at hand and once without any.
func eachISA[T runner[T]](t T, f func(T, string)) {
	restore := func() {
		for _, s := range instructionSets {
			*s.use = s.have
		}
	}
	defer restore()
	only := func(name string) {
		for _, s := range instructionSets {
			*s.use = s.name == name
		}
	}
	for _, s := range instructionSets {
		if !s.have {
			t.Logf("no %s on this machine", s.name)
			continue
		}
		only(s.name)
		t.Run("isa="+s.name, func(t T) { f(t, s.name) })
	}
	only("")
	t.Run("isa=generic", func(t T) { f(t, "generic") })
}
