package ragplug

import (
	"bufio"
	"cmp"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// collection is documents, questions about them, and which document answers which question.
type collection struct {
	corpus  *Corpus
	queries map[string]string
	answers map[string]map[string]bool
}

func shared() string {
	return filepath.Join(cmp.Or(os.Getenv("JARVIS_SHARED"), filepath.Join("..", "..", "shared")), "data", "retrieval")
}

// eachLine reads a file of JSON lines.
func eachLine(t testing.TB, path string, take func(line []byte)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Skipf("nothing to measure with: %v (JARVIS_SHARED names the folder that holds data/)", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		take(lines.Bytes())
	}
}

type judged struct {
	ID    string `json:"_id"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

func documents(t testing.TB, set string) (list []document) {
	eachLine(t, filepath.Join(shared(), set, "corpus.jsonl"), func(line []byte) {
		var d judged
		if err := json.Unmarshal(line, &d); err != nil {
			t.Fatal(err)
		}
		text := d.Text
		if !strings.HasPrefix(text, d.Title) {
			text = "# " + d.Title + "\n\n" + text
		}
		list = append(list, document{name: d.ID + ".md", text: text})
	})
	return list
}

func load(t testing.TB, set string) collection {
	c := collection{corpus: &Corpus{Name: set, documents: documents(t, set)}, queries: map[string]string{}, answers: map[string]map[string]bool{}}
	c.corpus.stamp()
	c.corpus.build()
	eachLine(t, filepath.Join(shared(), set, "queries.jsonl"), func(line []byte) {
		var q judged
		if err := json.Unmarshal(line, &q); err != nil {
			t.Fatal(err)
		}
		c.queries[q.ID] = q.Text
	})
	eachLine(t, filepath.Join(shared(), set, "qrels.tsv"), func(line []byte) {
		f := strings.Split(string(line), "\t")
		if f[2] == "score" || f[2] == "0" {
			return
		}
		if c.answers[f[0]] == nil {
			c.answers[f[0]] = map[string]bool{}
		}
		c.answers[f[0]][f[1]] = true
	})
	return c
}

// ranked are the documents that a search finds, the best first.
func (c collection) ranked(query string, most int) (list []string) {
	seen := map[string]bool{}
	c.corpus.index.search(query, 2*most, func(best []found) {
		for _, f := range best {
			name := strings.TrimSuffix(c.corpus.documents[c.corpus.passages[f.passage].document].name, ".md")
			if !seen[name] {
				list = append(list, name)
			}
			seen[name] = true
		}
	})
	return list
}

// measure is the average recall@5 and nDCG@10 over all questions that have an answer.
func (c collection) measure(rank func(query string) []string) (recall, ndcg float64) {
	for id, answers := range c.answers {
		list := rank(c.queries[id])
		hits, gain, best := 0.0, 0.0, 0.0
		for i, name := range list {
			if answers[name] && i < 5 {
				hits++
			}
			if answers[name] && i < 10 {
				gain += 1 / math.Log2(float64(i+2))
			}
		}
		for i := range min(len(answers), 10) {
			best += 1 / math.Log2(float64(i+2))
		}
		recall += hits / float64(len(answers))
		ndcg += gain / best
	}
	n := float64(len(c.answers))
	return recall / n, ndcg / n
}

// What a search finds is about as good as plain BM25 gets, in English and in Chinese.
func TestQuality(t *testing.T) {
	for _, row := range []struct {
		set                string
		leastRecall, least float64
	}{
		{"cranfield", 0.27, 0.36},
		{"cmrc2018-zh", 0.97, 0.96},
	} {
		c := load(t, row.set)
		recall, ndcg := c.measure(func(query string) []string { return c.ranked(query, 20) })
		t.Logf("%s: recall@5 %.4f, nDCG@10 %.4f of %d questions; %+v", row.set, recall, ndcg, len(c.answers), c.corpus.Stats())
		if recall < row.leastRecall || ndcg < row.least {
			t.Errorf("%s: less than %.3f and %.3f", row.set, row.leastRecall, row.least)
		}
	}
}

// Most questions about something else find nothing, and small talk does. The questions are people's to each other, about everything, so
// that some of them are about what an encyclopedia has, or have words of aerodynamics.
func TestNoise(t *testing.T) {
	for _, row := range []struct {
		set, file, field string
		most             float64 // share that finds something
	}{
		{"cranfield", "qqp.jsonl", "text_a", 0.35},
		{"cmrc2018-zh", "bustm_dev.json", "sentence1", 0.5},
	} {
		c := load(t, row.set)
		asked, found := 0, 0
		eachLine(t, filepath.Join(shared(), "..", "semantic-pairs", row.file), func(line []byte) {
			var fields map[string]any
			if err := json.Unmarshal(line, &fields); err != nil {
				t.Fatal(err)
			}
			asked++
			if len(c.ranked(fields[row.field].(string), 5)) > 0 {
				found++
			}
		})
		share := float64(found) / float64(asked)
		t.Logf("%s: %.1f%% of %d questions about something else find a passage", row.set, 100*share, asked)
		if asked == 0 || share > row.most {
			t.Errorf("%s: more than %g", row.set, row.most)
		}
		for _, talk := range []string{"", "hello", "Hello, how are you?", "thanks!", "hi there", "你好", "你好，请问你是谁？", "谢谢", "ok", "tell me a joke", "What is this?"} {
			if list := c.ranked(talk, 5); len(list) > 0 {
				t.Errorf("%s: %q finds %v", row.set, talk, list)
			}
		}
	}
}
