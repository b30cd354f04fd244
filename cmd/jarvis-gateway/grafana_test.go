package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// board is a dashboard, as far as ours make use of what Grafana knows. Anything else in the files is taken for a mistake.
// https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
type board struct {
	UID           string      `json:"uid"`
	Title         string      `json:"title"`
	Description   string      `json:"description"`
	Tags          []string    `json:"tags"`
	SchemaVersion int         `json:"schemaVersion"`
	Editable      bool        `json:"editable"`
	GraphTooltip  int         `json:"graphTooltip"`
	Refresh       string      `json:"refresh"`
	Time          timeRange   `json:"time"`
	Links         []boardLink `json:"links"`
	Templating    struct {
		List []variable `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`

	file string
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type boardLink struct {
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Tags        []string `json:"tags"`
	Icon        string   `json:"icon"`
	Tooltip     string   `json:"tooltip"`
	AsDropdown  bool     `json:"asDropdown"`
	TargetBlank bool     `json:"targetBlank"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
}

type variable struct {
	Name       string     `json:"name"`
	Label      string     `json:"label"`
	Type       string     `json:"type"`
	Datasource *sourceRef `json:"datasource"`
	Query      string     `json:"query"`
	Refresh    int        `json:"refresh"`
	Sort       int        `json:"sort"`
	Multi      bool       `json:"multi"`
	IncludeAll bool       `json:"includeAll"`
	AllValue   string     `json:"allValue"`
	Current    *choice    `json:"current"`
}

type choice struct {
	Text  string `json:"text"`
	Value string `json:"value"`
}

type sourceRef struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panel struct {
	ID          int         `json:"id"`
	Type        string      `json:"type"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	GridPos     gridPos     `json:"gridPos"`
	Datasource  *sourceRef  `json:"datasource"`
	Targets     []query     `json:"targets"`
	FieldConfig fieldConfig `json:"fieldConfig"`
	Options     any         `json:"options"`
	Interval    string      `json:"interval"`  // the finest step
	Collapsed   bool        `json:"collapsed"` // of a row, as is
	Panels      []panel     `json:"panels"`
}

type gridPos struct{ X, Y, W, H int }

type query struct {
	RefID string `json:"refId"`
	// of Prometheus
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
	Instant      bool   `json:"instant"`
	Range        bool   `json:"range"`
	Exemplar     bool   `json:"exemplar"`
	// of ClickHouse
	RawSQL        string `json:"rawSql"`
	EditorType    string `json:"editorType"`
	QueryType     string `json:"queryType"`
	PluginVersion string `json:"pluginVersion"`
	// of either: the one says heatmap, the other 0 (series) or 1 (table)
	Format any `json:"format"`
}

type fieldConfig struct {
	Defaults  fieldDefaults `json:"defaults"`
	Overrides []struct {
		Matcher struct {
			ID      string `json:"id"`
			Options string `json:"options"`
		} `json:"matcher"`
		Properties []struct {
			ID    string `json:"id"`
			Value any    `json:"value"`
		} `json:"properties"`
	} `json:"overrides"`
}

type fieldDefaults struct {
	Unit       string         `json:"unit"`
	Min        *float64       `json:"min"`
	Max        *float64       `json:"max"`
	Decimals   *int           `json:"decimals"`
	Custom     map[string]any `json:"custom"`
	Mappings   []any          `json:"mappings"`
	Thresholds *struct {
		Mode  string `json:"mode"`
		Steps []struct {
			Color string   `json:"color"`
			Value *float64 `json:"value"`
		} `json:"steps"`
	} `json:"thresholds"`
	Links []struct {
		Title       string `json:"title"`
		URL         string `json:"url"`
		TargetBlank bool   `json:"targetBlank"`
	} `json:"links"`
}

// boards reads every dashboard, strictly.
func boards(t *testing.T) (list []board) {
	t.Helper()
	files, err := filepath.Glob("../../configs/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no dashboards", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		b := board{file: filepath.Base(file)}
		if err := d.Decode(&b); err != nil {
			t.Fatalf("%s: %v", b.file, err)
		}
		list = append(list, b)
	}
	return list
}

// kinds are the panels' types that are used, and sources the plugins of data.
var (
	panelKinds  = []string{"row", "stat", "timeseries", "heatmap", "state-timeline", "bargauge", "table", "piechart"}
	panelUnits  = []string{"none", "short", "reqps", "ops", "s", "percentunit", "bytes", "currencyUSD", "x", "string"}
	dataSources = map[string]string{"prometheus": "prometheus", "grafana-clickhouse-datasource": "clickhouse"}
)

func TestDashboards(t *testing.T) {
	uids := map[string]bool{}
	for _, b := range boards(t) {
		t.Run(b.file, func(t *testing.T) {
			if b.UID != "jarvis-"+strings.TrimSuffix(b.file, ".json") || uids[b.UID] {
				t.Errorf("the uid is %q", b.UID)
			}
			uids[b.UID] = true
			if b.Title == "" || b.Description == "" || b.SchemaVersion != 39 || !slices.Contains(b.Tags, "jarvis") || len(b.Links) == 0 {
				t.Errorf("title, description, schema version, the tag or the links to the others are missing")
			}
			b.layout(t)
			for _, p := range b.Panels {
				b.lint(t, p)
			}
			b.variables(t)
		})
	}
}

// What Grafana is given at its start names the data sources that dashboards ask, and where dashboards are.
func TestGrafanaProvisioning(t *testing.T) {
	var sources struct {
		Version     int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool              `yaml:"isDefault"`
			JSON                         map[string]any    `yaml:"jsonData"`
			Secret                       map[string]string `yaml:"secureJsonData"`
		}
	}
	strictly(t, "datasources/datasources.yml", &sources)
	var types []string
	for _, s := range sources.Datasources {
		types = append(types, s.Type)
		for _, secret := range s.Secret {
			if !strings.HasPrefix(secret, "${") {
				t.Errorf("%s holds a secret", s.Name)
			}
		}
	}
	if slices.Sort(types); sources.Version != 1 || !slices.Equal(types, slices.Sorted(maps.Keys(dataSources))) {
		t.Errorf("the data sources are %v", types)
	}
	var providers struct {
		Version   int `yaml:"apiVersion"`
		Providers []struct {
			Name, Folder, Type string
			AllowUIUpdates     bool `yaml:"allowUiUpdates"`
			Options            struct{ Path string }
		}
	}
	strictly(t, "dashboards/dashboards.yml", &providers)
	if providers.Version != 1 || len(providers.Providers) != 1 || providers.Providers[0].Type != "file" || providers.Providers[0].Options.Path == "" {
		t.Errorf("%+v", providers)
	}
}

func strictly(t *testing.T, name string, into any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(readFile(t, "../../configs/grafana/provisioning/"+name)))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// layout checks that panels lie side by side in 24 columns, each in its own place and under its own number, none below a gap.
func (b board) layout(t *testing.T) {
	taken, ids, end := map[[2]int]string{}, map[int]bool{}, 0
	for _, p := range b.Panels {
		g := p.GridPos
		if ids[p.ID] || p.ID < 1 {
			t.Errorf("%s: the id %d is not its own", p.Title, p.ID)
		}
		ids[p.ID] = true
		if g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
			t.Errorf("%s: outside of the 24 columns: %+v", p.Title, g)
		}
		if g.Y > end {
			t.Errorf("%s: there is a gap above it", p.Title)
		}
		end = max(end, g.Y+g.H)
		for x := range g.W {
			for y := range g.H {
				if other, there := taken[[2]int{g.X + x, g.Y + y}]; there {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				taken[[2]int{g.X + x, g.Y + y}] = p.Title
			}
		}
	}
}

func (b board) lint(t *testing.T, p panel) {
	if !slices.Contains(panelKinds, p.Type) || p.Title == "" {
		t.Errorf("%q: the type %q", p.Title, p.Type)
	}
	if p.Type == "row" {
		if len(p.Targets) > 0 || len(p.Panels) > 0 || p.GridPos.W != 24 || p.GridPos.H != 1 {
			t.Errorf("%s is no plain row", p.Title)
		}
		return
	}
	if !strings.HasSuffix(p.Description, ".") {
		t.Errorf("%s: described as %q", p.Title, p.Description)
	}
	if !slices.Contains(panelUnits, p.FieldConfig.Defaults.Unit) {
		t.Errorf("%s: the unit %q", p.Title, p.FieldConfig.Defaults.Unit)
	}
	if p.Datasource == nil || p.Datasource.UID != "${"+dataSources[p.Datasource.Type]+"}" {
		t.Errorf("%s: its data source is no variable: %+v", p.Title, p.Datasource)
		return
	}
	if len(p.Targets) == 0 {
		t.Errorf("%s asks nothing", p.Title)
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if q.RefID == "" || refs[q.RefID] {
			t.Errorf("%s: the query %q twice", p.Title, q.RefID)
		}
		refs[q.RefID] = true
		if p.Datasource.Type == "prometheus" {
			if q.Expr == "" || q.RawSQL != "" || q.Instant == q.Range {
				t.Errorf("%s: %+v", p.Title, q)
			}
			continue
		}
		if q.RawSQL == "" || q.Expr != "" || q.EditorType != "sql" || q.QueryType != "timeseries" && q.QueryType != "table" || q.Format != map[string]any{"timeseries": 0.0, "table": 1.0}[q.QueryType] {
			t.Errorf("%s: %+v", p.Title, q)
		}
		if (p.Type == "timeseries") != (q.QueryType == "timeseries") {
			t.Errorf("%s asks for a %s", p.Title, q.QueryType)
		}
	}
}

var referred = regexp.MustCompile(`\$\{?([a-z]+)\b`)

// variables checks that each one that is used is there, and each one that is there is used.
func (b board) variables(t *testing.T) {
	used := map[string]bool{}
	for _, p := range b.Panels {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range referred.FindAllStringSubmatch(string(text), -1) {
			used[m[1]] = true
		}
	}
	have := map[string]bool{}
	for i, v := range b.Templating.List {
		have[v.Name] = true
		if !used[v.Name] {
			t.Errorf("the variable %s is for nothing", v.Name)
		}
		if v.Label == "" {
			t.Errorf("the variable %s has no label", v.Name)
		}
		switch v.Type {
		case "datasource":
			if dataSources[v.Query] != v.Name {
				t.Errorf("the variable %s is a data source of %s", v.Name, v.Query)
			}
		case "query":
			if v.Datasource == nil || !slices.ContainsFunc(b.Templating.List[:i], func(before variable) bool { return "${"+before.Name+"}" == v.Datasource.UID }) {
				t.Errorf("the variable %s asks %+v", v.Name, v.Datasource)
			}
		case "textbox":
		default:
			t.Errorf("the variable %s is a %s", v.Name, v.Type)
		}
	}
	for name := range used {
		if !have[name] && !strings.HasPrefix(name, "__") {
			t.Errorf("there is no variable %s", name)
		}
	}
}

func (p panel) String() string { return fmt.Sprintf("panel %d, %s", p.ID, p.Title) }
