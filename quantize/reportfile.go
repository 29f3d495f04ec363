package quantize

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

// SetVerdict enters a judgement into the report and into its file in the model's
// directory. No other file changes.
//
// Errors: a judgement that is not JSON, a directory that cannot be written.
func (r *Report) SetVerdict(dir string, verdict any) (err error) {
	if r.Verdict, err = json.Marshal(verdict); err != nil {
		return fmt.Errorf("quantize: verdict: %w", err)
	}
	return r.write(dir)
}

func (r *Report) write(dir string) error {
	return atomicfile.WriteFile(filepath.Join(dir, ReportName), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	})
}
