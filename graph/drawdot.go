package graph

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// WriteDOT writes what WriteSVG draws in the language of Graphviz, for other
// tools to lay out. The same declaration gives the same bytes.
//
// Errors: the builder's first error; the writer's.
func WriteDOT(w io.Writer, b *Builder, opt DrawOptions) error {
	d, nodes, err := picture(b, opt)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	out.WriteString("digraph {\n\tbgcolor=white\n\tnode [shape=box style=\"rounded,filled\" fontname=Helvetica fontsize=12]\n\tedge [color=\"#94a3b8\" fontname=Helvetica fontsize=10]\n")
	if opt.Title != "" {
		fmt.Fprintf(&out, "\tlabelloc=t\n\tlabel=%s\n", strconv.Quote(opt.Title))
	}
	ids := map[*box]string{}
	clusters := 0
	d.frames[b.root].dot(&out, "\t", ids, &clusters)
	written := map[string]bool{}
	for _, n := range nodes {
		for _, k := range childrenOf(n) {
			from, to := d.boxes[k], d.boxes[n]
			line := fmt.Sprintf("\t%s -> %s [label=%s]\n", ids[from], ids[to], strconv.Quote(d.shape(k)))
			if from != to && !written[line] {
				written[line] = true
				out.WriteString(line)
			}
		}
	}
	out.WriteString("}\n")
	_, err = w.Write(out.Bytes())
	return err
}

// dot writes a frame's boxes, which get an id each, and counts the frames.
func (f *frame) dot(out *bytes.Buffer, indent string, ids map[*box]string, clusters *int) {
	for _, x := range f.boxes {
		switch x.kind {
		case frameBox:
			fmt.Fprintf(out, "%ssubgraph cluster_%d {\n%s\tlabel=%s\n%s\tcolor=\"#cbd5e1\"\n", indent, *clusters, indent, strconv.Quote(x.frame.title), indent)
			*clusters++
			x.frame.dot(out, indent+"\t", ids, clusters)
			fmt.Fprintf(out, "%s}\n", indent)
		case nodeBox, groupBox:
			ids[x] = fmt.Sprintf("n%d", len(ids))
			lines := slices.DeleteFunc([]string{x.title, x.sub}, func(s string) bool { return s == "" })
			p := palette[x.class]
			fmt.Fprintf(out, "%s%s [label=%s fillcolor=%q color=%q]\n", indent, ids[x], strconv.Quote(strings.Join(lines, "\n")), p.fill, p.line)
		}
	}
}
