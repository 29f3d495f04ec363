package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
)

// repairs is how often a file whose hash is wrong is mended.
const repairs = 4

// newHash starts the hash by which the Hub knows a file.
func newHash(f File) hash.Hash {
	if f.SHA256 != "" {
		return sha256.New()
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", f.Size)
	return h
}

// hashFile says whether an existing file is f.
func hashFile(ctx context.Context, path string, f File) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	h := newHash(f)
	buffer := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := file.Read(buffer)
		h.Write(buffer[:n])
		if err == io.EOF {
			return fmt.Sprintf("%x", h.Sum(nil)) == f.id(), nil
		}
		if err != nil {
			return false, err
		}
	}
}

// verify compares the file with the hash that the Hub lists, and mends what is wrong as the package comment tells.
func (d *download) verify(ctx context.Context) error {
	if d.checked {
		return nil
	}
	for range repairs {
		right, damaged, err := d.reread(ctx)
		if err != nil {
			return err
		}
		if right {
			return d.pass()
		}
		if len(damaged) > 0 {
			if _, err := d.again(ctx, damaged); err != nil {
				return err
			}
			continue
		}
		changed, err := d.suspect(ctx)
		if err != nil {
			return err
		}
		if changed == 0 {
			return final("%s sends other bytes than its list says; try again later, or another HF_ENDPOINT", d.c.Host())
		}
	}
	return final("its bytes are wrong in another way at every attempt; check the disk and the memory of this machine")
}

// reread reads the file from disk: whether its hash is right, and which ranges are not what was received.
func (d *download) reread(ctx context.Context) (right bool, damaged []int, err error) {
	whole := newHash(d.file)
	buffer := make([]byte, 1<<20)
	for i := range d.sums {
		from, end := d.bounds(i)
		part := sha256.New()
		for at := from; at < end; {
			if err := ctx.Err(); err != nil {
				return false, nil, err
			}
			n, err := d.data.ReadAt(buffer[:min(int64(len(buffer)), end-at)], at)
			if n == 0 {
				return false, nil, err
			}
			whole.Write(buffer[:n])
			part.Write(buffer[:n])
			at += int64(n)
		}
		if sum(part.Sum(nil)) != d.sumOf(i) {
			damaged = append(damaged, i)
		}
	}
	return fmt.Sprintf("%x", whole.Sum(nil)) == d.file.id(), damaged, nil
}

// suspect fetches the ranges again, as many at a time as there are workers, until the file is right. It says how many
// were other bytes than before. After the first that was, and then each time that their number has doubled, it looks
// at the whole.
func (d *download) suspect(ctx context.Context) (changed int, err error) {
	all := make([]int, len(d.sums))
	for i := range all {
		all[i] = i
	}
	next := 1
	for batch := range slices.Chunk(all, d.c.o.Workers) {
		n, err := d.again(ctx, batch)
		if err != nil {
			return changed, err
		}
		if changed += n; changed < next {
			continue
		}
		if right, _, err := d.reread(ctx); right || err != nil {
			return changed, err
		}
		next = 2 * changed
	}
	return changed, nil
}

// again fetches ranges in place, and says how many came with other bytes than before.
func (d *download) again(ctx context.Context, ranges []int) (changed int, err error) {
	before := d.forget(ranges)
	d.streaming.Store(false)
	if err := d.c.parallel(ctx, func(yield func(func(context.Context) error) bool) {
		for _, i := range ranges {
			from, end := d.bounds(i)
			d.total.Add(end - from)
			if !yield(func(ctx context.Context) error { _, err := d.fetch(ctx, i); return err }) {
				return
			}
		}
	}); err != nil {
		return 0, err
	}
	for k, i := range ranges {
		if d.sumOf(i) != before[k] {
			changed++
		}
	}
	return changed, nil
}
