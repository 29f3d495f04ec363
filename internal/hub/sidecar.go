package hub

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/seed-796a8800/tritium/internal/atomicfile"
)

// partial is a file that is being downloaded, and the record of what is there.
type partial struct {
	path    string   // of the data; the record is beside it
	data    *os.File // written at offsets
	record  *os.File // appended to
	release func()

	checked bool // its hash is the Hub's

	mu      sync.Mutex
	sums    []sum // by range; the zero sum is a range that is not there
	have    int   // ranges that are
	pending []int // written, not yet flushed
	waiting []sum // theirs
	syncing bool
}

type sum [sha256.Size]byte

// partialName returns where a file is while it is not complete, and its record.
func partialName(final string) (data, record string) {
	base := filepath.Join(filepath.Dir(final), "."+filepath.Base(final))
	return base + ".download", base + ".ranges"
}

// openPartial goes on with the download of a file of so many ranges where its record says that it is the one that
// header describes, and begins anew otherwise.
//
// Errors: another process downloads it; the operating system's.
func openPartial(final, header string, size int64, ranges int) (*partial, error) {
	path, recordPath := partialName(final)
	data, release, err := atomicfile.Hold(path)
	if err != nil {
		return nil, err
	}
	p := &partial{path: path, data: data, release: release, sums: make([]sum, ranges)}
	if p.record, err = os.OpenFile(recordPath, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if err := p.load(header, size); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// load reads the record, and cuts off what a kill has left of a line.
func (p *partial) load(header string, size int64) error {
	first := seal(header)
	// Ranges that were fetched again have several lines; more than a few of each are not ours.
	limit := int64(len(first)) + 8*int64(len(p.sums)+1)*100
	text, err := io.ReadAll(io.LimitReader(p.record, limit))
	if err != nil {
		return err
	}
	info, err := p.data.Stat()
	if err != nil {
		return err
	}
	rest, ours := bytes.CutPrefix(text, []byte(first))
	if ours && info.Size() == size {
		good := len(text) - len(rest)
		for line := range bytes.Lines(rest) {
			if i, s, ok := parseLine(string(line), len(p.sums)); ok {
				p.set(i, s)
			} else if string(line) == seal(checkedMark) {
				p.checked = true
			} else {
				break
			}
			good += len(line)
		}
		if err := p.record.Truncate(int64(good)); err != nil {
			return err
		}
		_, err = p.record.Seek(int64(good), io.SeekStart)
		return err
	}
	// The record first: were the data cut first, a kill between would leave a record of what is gone.
	if err := p.record.Truncate(0); err != nil {
		return err
	}
	if _, err := p.record.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := errors.Join(p.record.Sync(), p.data.Truncate(0), p.data.Truncate(size)); err != nil {
		return err
	}
	_, err = p.record.WriteString(first)
	return err
}

// checkedMark is the line of a file whose hash is right.
const checkedMark = "checked #"

// seal makes a line that shows when it is torn.
func seal(text string) string {
	return fmt.Sprintf("%s %08x\n", text, crc32.ChecksumIEEE([]byte(text)))
}

func parseLine(line string, ranges int) (i int, s sum, ok bool) {
	text, _, found := strings.Cut(line, " #")
	if !found || seal(text+" #") != line {
		return 0, s, false
	}
	var digits string
	if n, err := fmt.Sscanf(text, "%d %64s", &i, &digits); n != 2 || err != nil || i < 0 || i >= ranges {
		return 0, s, false
	}
	n, err := hex.Decode(s[:], []byte(digits))
	return i, s, err == nil && n == len(s)
}

// set enters a range. The caller holds mu, or is alone.
func (p *partial) set(i int, s sum) {
	if p.sums[i] == (sum{}) {
		p.have++
	}
	p.sums[i] = s
}

// has says whether a range is there.
func (p *partial) has(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sums[i] != sum{}
}

// sumOf returns the hash of a range as it came.
func (p *partial) sumOf(i int) sum {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sums[i]
}

// forget makes ranges ones that are not there. The record keeps them until they are there again: should they never be,
// the next run finds that they are damaged.
func (p *partial) forget(ranges []int) (before []sum) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range ranges {
		before = append(before, p.sums[i])
		p.sums[i] = sum{}
		p.have--
	}
	return before
}

// finish records ranges that are written, and says whether all are there now. One caller flushes for all who come
// meanwhile: their ranges are entered a little later, by it.
func (p *partial) finish(i int, s sum) (complete bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending, p.waiting = append(p.pending, i), append(p.waiting, s)
	if p.syncing {
		return false, nil
	}
	p.syncing = true
	defer func() { p.syncing = false }()
	for len(p.pending) > 0 {
		ranges, sums := p.pending, p.waiting
		p.pending, p.waiting = nil, nil
		p.mu.Unlock()
		err := p.write(ranges, sums)
		p.mu.Lock()
		if err != nil {
			return false, err
		}
		for k, i := range ranges {
			p.set(i, sums[k])
		}
	}
	return p.have == len(p.sums), nil
}

// write flushes the data, then the record of it.
func (p *partial) write(ranges []int, sums []sum) error {
	if err := p.data.Sync(); err != nil {
		return err
	}
	var text strings.Builder
	for k, i := range ranges {
		text.WriteString(seal(fmt.Sprintf("%d %x #", i, sums[k])))
	}
	if _, err := p.record.WriteString(text.String()); err != nil {
		return err
	}
	return p.record.Sync()
}

// pass records that the file's hash is right.
func (p *partial) pass() error {
	_, err := p.record.WriteString(seal(checkedMark))
	p.checked = true
	return errors.Join(err, p.record.Sync())
}

// close leaves the download to a later run.
func (p *partial) close() error {
	if p.data == nil {
		return nil
	}
	err := p.data.Close()
	if p.record != nil {
		err = errors.Join(err, p.record.Close())
	}
	p.release()
	p.data, p.record = nil, nil
	return err
}

// publish gives the complete file its name and drops the record.
func (p *partial) publish(final string) error {
	err := errors.Join(p.data.Sync(), p.data.Close(), p.record.Close()) // Windows renames only closed files
	p.data, p.record = nil, nil
	if err == nil {
		err = os.Rename(p.path, final)
	}
	p.release()
	if err != nil {
		return err
	}
	_, record := partialName(final)
	os.Remove(record) // without its data it says nothing
	return nil
}

// syncDir flushes the names in a directory. What cannot has nothing to flush.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}
