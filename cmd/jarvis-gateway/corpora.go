package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy"
	"jarvis-gateway/ragplug"
)

// corporaBeside has the files of corpora lie where the main file says, as seen from there.
func corporaBeside(main string, corpora map[string]ragplug.Config) map[string]ragplug.Config {
	for name, c := range corpora {
		c.Dir = filepath.Dir(main)
		corpora[name] = c
	}
	return corpora
}

// documentFiles are those of all corpora, as far as they can be found.
func documentFiles(main string, corpora map[string]ragplug.Config) (files []string) {
	corpora = corporaBeside(main, corpora)
	for _, name := range slices.Sorted(maps.Keys(corpora)) {
		files = append(files, ragplug.Files(corpora[name])...)
	}
	return files
}

// followCorpora watches the folders in which documents may come and go.
func (w *watcher) followCorpora() {
	for _, c := range corporaBeside(w.source.path, w.source.rough().Corpora) {
		for _, folder := range ragplug.Folders(c) {
			w.followTree(folder)
		}
	}
}

// index reads the corpora of a config, and indexes them where that is not only to be checked.
func (p *parts) index(c *Config, prev *parts, serves bool) (err error) {
	var errs [2]error
	if serves {
		p.corpora, errs[0] = ragplug.Load(c.Corpora, prev.corpora)
	} else {
		p.corpora, errs[0] = ragplug.Check(c.Corpora)
	}
	p.retrieval, errs[1] = proxy.NewRetrieval(p.corpora, c.Models)
	return errors.Join(errs[:]...)
}

// rag is what the commands of `rag` were asked for.
type rag struct {
	config string
	json   bool
	limits ragplug.Limits
}

func ragCommand() *cobra.Command {
	r := &rag{}
	c := &cobra.Command{Use: "rag", Short: "Look into corpora of documents, without a gateway that runs"}
	search := &cobra.Command{
		Use: "search CORPUS QUERY", Short: "Show the passages that a query would get", Args: cobra.ExactArgs(2),
		Example: `  jarvis-gateway rag search handbook "how many days can I carry over?" -c jarvis.yml`,
		RunE:    func(c *cobra.Command, args []string) error { return r.search(c.OutOrStdout(), args[0], args[1]) },
	}
	search.Flags().IntVar(&r.limits.Passages, "top-k", 5, "passages at most")
	search.Flags().IntVar(&r.limits.Tokens, "tokens", 100_000, "their tokens at most, with the words around them")
	list := &cobra.Command{
		Use: "list", Short: "List the corpora of a configuration, and how large they are", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return r.list(c.OutOrStdout()) },
	}
	for _, sub := range []*cobra.Command{search, list} {
		sub.Flags().StringVarP(&r.config, "config", "c", "", "the configuration's `FILE` (default $JARVIS_CONFIG, or jarvis.yml)")
		sub.Flags().BoolVar(&r.json, "json", false, "print JSON")
		c.AddCommand(sub)
	}
	return c
}

// corpora are those of the configuration.
func (r *rag) corpora() (map[string]*ragplug.Corpus, error) {
	s := newSource("")
	named, _ := s.lookup("JARVIS_CONFIG")
	s.path = cmp.Or(r.config, named, "jarvis.yml")
	conf, err := s.load()
	if err != nil {
		return nil, err
	}
	all, err := ragplug.Load(conf.Corpora, nil)
	return all, conf.explain(err)
}

func (r *rag) search(out io.Writer, name, query string) error {
	all, err := r.corpora()
	if err != nil {
		return err
	}
	corpus := all[name]
	if corpus == nil {
		return fmt.Errorf("unknown corpus %q (have: %s)", clip(name), strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	if r.limits.Passages < 1 || r.limits.Passages > 50 {
		return errors.New("--top-k: expected 1 to 50")
	}
	found := corpus.Find(query, r.limits)
	if r.json {
		return printFound(out, &found)
	}
	if len(found.Passages) == 0 {
		fmt.Fprintf(out, "No passage of %s@%s has enough to do with that.\n", name, corpus.Version())
		return nil
	}
	rows := make([][]string, len(found.Passages))
	for i, p := range found.Passages {
		rows[i] = []string{strconv.Itoa(i + 1), fmt.Sprintf("%.2f", p.Score), oneLine(p.Source), oneLine(p.Title), snippet(p.Text)}
	}
	return table(out, "RANK SCORE SOURCE HEADING TEXT", rows)
}

func printFound(out io.Writer, f *ragplug.Found) error {
	type shown struct {
		ragplug.Passage
		Text string `json:"text"`
	}
	answer := struct {
		Corpus   string  `json:"corpus"`
		Tokens   int     `json:"tokens"`
		Passages []shown `json:"passages"`
	}{f.Corpus.Name + "@" + f.Corpus.Version(), f.Tokens, []shown{}}
	for _, p := range f.Passages {
		answer.Passages = append(answer.Passages, shown{p, p.Text})
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return printJSON(out, gjson.ParseBytes(raw))
}

// snippet is the beginning of a text, on one line.
func snippet(text string) string {
	const most = 60
	letters := []rune(strings.Join(strings.Fields(text), " "))
	if len(letters) <= most {
		return oneLine(string(letters))
	}
	return oneLine(string(letters[:most])) + "..."
}

func (r *rag) list(out io.Writer) error {
	all, err := r.corpora()
	if err != nil {
		return err
	}
	if r.json {
		type row struct {
			Corpus string `json:"corpus"`
			ragplug.Stats
		}
		rows := []row{}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			rows = append(rows, row{name + "@" + all[name].Version(), all[name].Stats()})
		}
		raw, err := json.Marshal(rows)
		return firstError(err, func() error { return printJSON(out, gjson.ParseBytes(raw)) })
	}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name].Stats()
		rows = append(rows, []string{name + "@" + all[name].Version(), strconv.Itoa(s.Documents), strconv.Itoa(s.Passages), strconv.FormatInt(s.Tokens, 10),
			fmt.Sprintf("%.1f KiB", float64(s.Text)/1024), fmt.Sprintf("%.1f KiB", float64(s.Index)/1024)})
	}
	return table(out, "CORPUS DOCUMENTS PASSAGES TOKENS TEXT INDEX", rows)
}

// printRetrieved prints which passages an explained request would get.
func printRetrieved(out io.Writer, e gjson.Result) error {
	if !e.Exists() {
		return nil
	}
	list := e.Get("passages").Array()
	if len(list) == 0 {
		fmt.Fprintf(out, "\nNo passage of %s has enough to do with it.\n", oneLine(e.Get("corpus").String()))
		return nil
	}
	fmt.Fprintf(out, "\nIt gets passages of %s, about %d tokens:\n", oneLine(e.Get("corpus").String()), e.Get("tokens").Int())
	rows := make([][]string, len(list))
	for i, p := range list {
		rows[i] = []string{strconv.Itoa(i + 1), fmt.Sprintf("%.2f", p.Get("score").Float()), oneLine(p.Get("source").String()), oneLine(p.Get("title").String())}
	}
	return table(out, "NUMBER SCORE SOURCE HEADING", rows)
}
