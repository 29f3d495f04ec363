package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf8"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

const (
	defaultShard = 4_800_000_000 // as in published GPT-OSS checkpoints
	defaultAlign = 64            // a cache line, and the widest vector load
	maxAlign     = 4096          // a page: mappings start on one, so more would promise nothing
)

// shard is one file of a checkpoint being written.
type shard struct {
	name    string
	tensors []placed // ascending by begin
	bytes   int64    // of the data section
	header  []byte   // length prefix included; dropped once written
	file    *atomicfile.File
}

// placed is a tensor with its place in a shard's data section.
type placed struct {
	spec        Spec
	begin, size int64
}

// plan validates specs and lays out the files: names, offsets and headers.
func plan(specs []Spec, o Options) ([]*shard, error) {
	limit, align := cmp.Or(o.ShardBytes, defaultShard), cmp.Or(o.Align, defaultAlign)
	if limit < 0 {
		return nil, fmt.Errorf("option ShardBytes: %d is negative", limit)
	}
	if align < 0 || align > maxAlign || align&(align-1) != 0 {
		return nil, fmt.Errorf("option Align: %d is not a power of two up to %d", align, maxAlign)
	}
	shards, err := split(specs, limit)
	if err != nil {
		return nil, err
	}
	for i, s := range shards {
		s.name = singleName
		if len(shards) > 1 {
			s.name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		s.place(align)
		if s.header, err = encodeHeader(s.tensors, o.Metadata, align); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return shards, nil
}

// split checks every spec and fills files greedily, in order. There is always at least one file.
func split(specs []Spec, limit int64) ([]*shard, error) {
	shards := []*shard{{}}
	seen := make(map[string]bool, len(specs))
	var total int64
	for _, spec := range specs {
		size, err := byteSize(spec.Dtype, spec.Shape)
		switch {
		case err != nil:
		case spec.Name == "" || spec.Name == metadataKey || !utf8.ValidString(spec.Name):
			err = errors.New("not a usable name")
		case seen[spec.Name]:
			err = errors.New("declared twice")
		case size > 1<<62-total: // leaves room for headers and sums below 2^63
			err = errors.New("the checkpoint would exceed 2^62 bytes")
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", spec.Name, err)
		}
		seen[spec.Name] = true
		total += size
		last := shards[len(shards)-1]
		if len(last.tensors) > 0 && size > limit-last.bytes {
			last = &shard{}
			shards = append(shards, last)
		}
		last.tensors = append(last.tensors, placed{spec: spec, size: size})
		last.bytes += size
	}
	return shards, nil
}

// place orders a file's tensors by alignment class and assigns offsets. Every tensor before one of class c has a
// size that is a multiple of c or more, so the offset is too.
func (s *shard) place(align int) {
	class := func(p placed) int { // log2 of the largest power of two, at most align, dividing the size
		return min(bits.TrailingZeros64(uint64(p.size)), bits.TrailingZeros(uint(align)))
	}
	slices.SortStableFunc(s.tensors, func(a, b placed) int { return cmp.Compare(class(b), class(a)) })
	var at int64
	for i := range s.tensors {
		s.tensors[i].begin = at
		at += s.tensors[i].size
	}
}

// encodeHeader returns the length prefix and JSON header, padded with spaces to a multiple of align.
func encodeHeader(tensors []placed, meta map[string]string, align int) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 8, 128+128*len(tensors)))
	b.WriteByte('{')
	if len(meta) > 0 {
		if err := checkMetadata(meta); err != nil {
			return nil, err
		}
		if err := writeEntry(b, metadataKey, meta); err != nil {
			return nil, err
		}
	}
	for i, p := range tensors {
		if i > 0 || len(meta) > 0 {
			b.WriteByte(',')
		}
		entry := struct {
			Dtype   Dtype    `json:"dtype"`
			Shape   []int    `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{p.spec.Dtype, append([]int{}, p.spec.Shape...), [2]int64{p.begin, p.begin + p.size}} // nil would become null
		if err := writeEntry(b, p.spec.Name, entry); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	for b.Len()%align != 0 {
		b.WriteByte(' ')
	}
	n := b.Len() - 8
	if n > maxHeader {
		return nil, fmt.Errorf("a header of %d bytes is over the format's limit of %d; use smaller shards", n, maxHeader)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(n))
	return b.Bytes(), nil
}

func checkMetadata(meta map[string]string) error {
	for _, k := range sortedKeys(meta) {
		if !utf8.ValidString(k) || !utf8.ValidString(meta[k]) { // JSON would silently replace the bad bytes
			return fmt.Errorf("metadata %q is not valid UTF-8", k)
		}
	}
	return nil
}

func writeEntry(b *bytes.Buffer, key string, value any) error {
	k, err := json.Marshal(key)
	if err != nil {
		return err
	}
	v, err := json.Marshal(value)
	if err != nil {
		return err
	}
	b.Write(k)
	b.WriteByte(':')
	b.Write(v)
	return nil
}
