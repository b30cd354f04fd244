package ragplug

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Corpus is documents, cut into passages that can be searched. It never changes, and may be shared.
type Corpus struct {
	Name      string
	chunk     Chunk
	digest    [sha256.Size]byte
	mark      string // what no document can foresee
	documents []document
	passages  []passage
	index     *index
	stats     Stats
}

// document is a text, and what it is called.
type document struct{ name, text string }

// Stats say how large a corpus is.
type Stats struct {
	Documents int   `json:"documents"`
	Passages  int   `json:"passages"`
	Tokens    int64 `json:"tokens"`      // of all passages, estimated, with what they repeat
	Text      int64 `json:"text_bytes"`  // of the documents
	Index     int64 `json:"index_bytes"` // memory for the index, about, without the texts
}

// Load reads and indexes corpora. One that is as it was before is taken over. The error is all that is wrong, worded as paths.
func Load(configs map[string]Config, before map[string]*Corpus) (map[string]*Corpus, error) {
	return each(configs, func(c *Corpus) *Corpus {
		if old := before[c.Name]; old != nil && old.digest == c.digest {
			return old
		}
		c.build()
		return c
	})
}

// Check is Load, but that it indexes nothing: what it returns tells names only.
func Check(configs map[string]Config) (map[string]*Corpus, error) {
	return each(configs, func(c *Corpus) *Corpus { return c })
}

func each(configs map[string]Config, finish func(*Corpus) *Corpus) (map[string]*Corpus, error) {
	all := map[string]*Corpus{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		c, err := open(name, configs[name])
		if err != nil {
			errs = append(errs, err)
			c = &Corpus{Name: name} // so that who refers to it is not wrong too
		} else {
			c = finish(c)
		}
		all[name] = c
	}
	return all, errors.Join(errs...)
}

// open reads the documents of a corpus.
func open(name string, cfg Config) (*Corpus, error) {
	at := "corpora." + name
	if err := errors.Join(prefixed(at, checkName(name)), cfg.check(at)); err != nil {
		return nil, err
	}
	c := &Corpus{Name: name, chunk: cfg.Chunk}
	seen, named := map[string]bool{}, map[string]bool{}
	var size int
	var errs []error
	for i, pattern := range cfg.Files {
		at := fmt.Sprintf("%s.files[%d]", at, i)
		files, err := match(cfg.Dir, pattern)
		errs = append(errs, prefixed(at, err))
		for _, f := range files {
			if seen[f.path] {
				continue
			}
			seen[f.path] = true
			if named[f.name] {
				f.name = below(cfg.Dir, f.path)
			}
			named[f.name] = true
			text, err := f.read()
			if err != nil {
				errs = append(errs, prefixed(at, err))
				continue
			}
			if size += len(text); size > LargestText || len(c.documents) == MostFiles {
				return nil, fmt.Errorf("%s: more than %d MiB, or %d files, in one corpus", at, LargestText>>20, MostFiles)
			}
			c.documents = append(c.documents, document{name: f.name, text: text})
		}
	}
	c.stamp()
	return c, errors.Join(errs...)
}

// below is a path as seen from a folder.
func below(dir, path string) string {
	if name, err := filepath.Rel(dir, path); err == nil && dir != "" {
		path = name
	}
	return filepath.ToSlash(path)
}

func prefixed(at string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", at, err)
}

// stamp digests all that the corpus's passages come from.
func (c *Corpus) stamp() {
	slices.SortFunc(c.documents, func(a, b document) int { return strings.Compare(a.name, b.name) })
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %d\n", format, c.chunk.size(), c.chunk.overlap())
	for _, d := range c.documents {
		add(h, d.name)
		add(h, d.text)
	}
	h.Sum(c.digest[:0])
	mark := sha256.Sum256(append([]byte("mark "), c.digest[:]...))
	c.mark = "passage-" + hex.EncodeToString(mark[:6])
}

// format changes when the same documents are cut otherwise than before.
const format = 1

func add(h hash.Hash, text string) {
	fmt.Fprintf(h, "%d ", len(text))
	h.Write([]byte(text))
}

// Version is a short digest of the documents, and of how they are cut.
func (c *Corpus) Version() string { return hex.EncodeToString(c.digest[:4]) }

// Size is the most that one of its passages may have, in tokens.
func (c *Corpus) Size() int { return c.chunk.size() }

// Stats tell how large it is.
func (c *Corpus) Stats() Stats { return c.stats }

// build cuts and indexes the documents.
func (c *Corpus) build() {
	b := newBuilder()
	c.stats.Documents = len(c.documents)
	for i, d := range c.documents {
		c.stats.Text += int64(len(d.text))
		for _, p := range cut(d.text, isMarkdown(d.name), c.chunk) {
			if len(b.sizes) == maxPassages {
				break
			}
			p.document = uint32(i)
			p.alike, _ = b.add(p.title, d.text[p.start:p.end])
			c.passages = append(c.passages, p)
			c.stats.Tokens += int64(p.tokens)
		}
	}
	c.passages = slices.Clip(c.passages)
	c.index = b.build()
	c.stats.Passages = len(c.passages)
	const ofPassage = 64
	c.stats.Index = int64(c.index.bytes() + len(c.passages)*ofPassage)
}

func isMarkdown(name string) bool { return strings.EqualFold(filepath.Ext(name), ".md") }
