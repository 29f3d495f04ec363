package quantize

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss"
)

// TestMixedFormats gives the projections of one layer as many formats as there
// are, with statistics for those that are fitted to them and none for others.
func TestMixedFormats(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers for several seconds")
	}
	n := gptoss.LayerNames(2)
	as := map[string]string{n.Q: gptoss.FormatInt4, n.K: gptoss.FormatInt8, n.V: StoreSource, n.O: gptoss.FormatPlanes5,
		n.GateUp: gptoss.FormatInt4, n.Down: gptoss.FormatPlanes2, gptoss.LayerNames(3).GateUp: StoreSource,
		gptoss.LayerNames(3).Down: StoreSource, gptoss.LayerNames(4).Down: gptoss.FormatTernary5}
	o := Options{Method: PTBitNet, Attention: StoreBF16, Experts: StorePlanes, Tensors: as}
	dirs := []string{quantizeNano(t, 1, o), quantizeNano(t, 3, o)}
	c, err := gptoss.Open(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.CheckFinite(newCPU(t, 2), nil); err != nil {
		t.Error(err)
	}
	config := c.Config()
	for _, p := range config.ProjectionList() {
		want, ok := as[p.Name]
		if !ok && p.Experts > 0 {
			want = gptoss.FormatPlanes2
		}
		if want == StoreSource {
			want = ""
		}
		if got := c.Format(p.Name).Kind; got != want {
			t.Errorf("%s is stored as %q, want %q", p.Name, got, want)
		}
	}
	var report Report
	data, err := os.ReadFile(filepath.Join(dirs[0], ReportName))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	for _, x := range report.Tensors {
		if limit := map[string]float64{gptoss.FormatTernary5: .25}[x.Format]; !(x.RelativeError > 0 && x.RelativeError < max(limit, .05)) {
			t.Errorf("%s as %s: relative error %g", x.Name, x.Format, x.RelativeError)
		}
		if counted := x.Format != gptoss.FormatInt8; counted != (x.Tokens > 0) {
			t.Errorf("%s as %s saw %d tokens", x.Name, x.Format, x.Tokens)
		}
	}
	one, err := os.ReadFile(filepath.Join(dirs[0], "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	three, err := os.ReadFile(filepath.Join(dirs[1], "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, three) {
		t.Error("three threads write other bytes than one")
	}
}
