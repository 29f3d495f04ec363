package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/cpu"
)

// version is set by release builds: -ldflags "-X main.version=v1.2.3".
var version = "dev"

// machine describes what the program runs on.
type machine struct {
	CPU          string   `json:"cpu"` // "" where the system does not tell
	Go           string   `json:"go"`
	OS           string   `json:"os"`
	Arch         string   `json:"arch"`
	CPUs         int      `json:"cpus"`
	Threads      int      `json:"threads"` // that this process would compute on
	Instructions []string `json:"instructions"`
	Devices      []string `json:"devices"`
}

func (a *app) machine() machine {
	threads := a.threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	return machine{cpuName(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), threads, instructions(), []string{"cpu"}}
}

// instructions lists the vector instruction sets of this processor that the
// kernels know of.
func instructions() []string {
	found := []string{}
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"avx-vnni", cpu.X86.HasAVXVNNI},
		{"avx512f", cpu.X86.HasAVX512F}, {"avx512bw", cpu.X86.HasAVX512BW}, {"avx512vl", cpu.X86.HasAVX512VL},
		{"avx512vbmi", cpu.X86.HasAVX512VBMI}, {"avx512vnni", cpu.X86.HasAVX512VNNI}, {"avx512bf16", cpu.X86.HasAVX512BF16},
		{"neon", cpu.ARM64.HasASIMD}, {"dotprod", cpu.ARM64.HasASIMDDP}, {"i8mm", cpu.ARM64.HasI8MM},
	} {
		if f.has {
			found = append(found, f.name)
		}
	}
	return found
}

// commit returns the revision the program was built from, if it is known.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	return revision + modified
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Version, commit, instruction sets and devices",
		Args:  wantArgs(),
		RunE: func(*cobra.Command, []string) error {
			m := a.machine()
			if a.json {
				return a.printJSON(struct {
					Version string `json:"version"`
					Commit  string `json:"commit"`
					machine
				}{version, commit(), m})
			}
			c := commit()
			if c == "" {
				c = "unknown"
			}
			fmt.Fprintf(a.out, "tritium %s\n", version)
			var t table
			t.row("commit", c)
			t.row("go", m.Go)
			t.row("system", m.OS+"/"+m.Arch)
			t.row("instructions", strings.Join(m.Instructions, " "))
			t.row("threads", fmt.Sprintf("%d of %d CPUs", m.Threads, m.CPUs))
			t.row("devices", strings.Join(m.Devices, " "))
			return t.write(a.out, 1)
		},
	}
}
