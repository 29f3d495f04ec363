package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// TestDocumented: every package says what it is for, and everything that other
// modules can see is documented.
func TestDocumented(t *testing.T) {
	var offenders []string
	documented := map[string]bool{} // package directory -> has a doc
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		documented[s.dir] = documented[s.dir] || s.Doc != nil
		if s.public() {
			offenders = append(offenders, undocumented(s)...)
		}
	}
	for dir, ok := range documented {
		if !ok {
			offenders = append(offenders, dir+": no package comment")
		}
	}
	slices.Sort(offenders)
	report(t, offenders)
}

// undocumented returns the exported identifiers of a file without a comment.
func undocumented(s *source) (offenders []string) {
	miss := func(n ast.Node, name string) {
		offenders = append(offenders, fmt.Sprintf("%s: %s has no comment", s.at(n), name))
	}
	for _, d := range s.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if name, seen := visible(d); seen && d.Doc == nil {
				miss(d, name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
						miss(spec, spec.Name.Name)
					}
				case *ast.ValueSpec:
					// One comment may stand for a group of constants.
					if d.Doc != nil || spec.Doc != nil || spec.Comment != nil {
						continue
					}
					for _, name := range spec.Names {
						if name.IsExported() {
							miss(name, name.Name)
						}
					}
				}
			}
		}
	}
	return offenders
}

// selfEvident are methods of the standard library's interfaces, whose contract
// is documented there.
var selfEvident = []string{"String", "Error", "Unwrap", "Is", "As", "Read", "Write", "Close", "Len", "Less", "Swap", "MarshalJSON", "UnmarshalJSON"}

// visible says whether other packages see a function, and by what name.
func visible(f *ast.FuncDecl) (name string, seen bool) {
	if !f.Name.IsExported() {
		return "", false
	}
	if f.Recv == nil {
		return f.Name.Name, true
	}
	receiver := f.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
			continue
		case *ast.IndexExpr:
			receiver = r.X
			continue
		case *ast.IndexListExpr:
			receiver = r.X
			continue
		case *ast.Ident:
			full := strings.Join([]string{r.Name, f.Name.Name}, ".")
			return full, r.IsExported() && !slices.Contains(selfEvident, f.Name.Name)
		}
		return f.Name.Name, true
	}
}
