package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/bench/chdb"
)

// The example of tiers works, with folders in the place of S3: old rows move, and retention leaves it to them.
func TestTiers(t *testing.T) {
	folder := filepath.Join("..", "..", "..", "configs", "clickhouse")
	config, err := os.ReadFile(filepath.Join(folder, "storage-s3.xml"))
	if err != nil {
		t.Fatal(err)
	}
	statementsOfTiers, err := os.ReadFile(filepath.Join(folder, "storage-s3.sql"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	local := strings.NewReplacer(
		"<type>s3</type>", "<type>local_blob_storage</type>",
		`<endpoint from_env="JARVIS_S3_WARM"/>`, "<path>"+dir+"/warm/</path>", `<endpoint from_env="JARVIS_S3_COLD"/>`, "<path>"+dir+"/cold/</path>",
		"<use_environment_credentials>true</use_environment_credentials>", "",
		"<move_factor>0.1</move_factor>", "<move_factor>0</move_factor>", // the disk of this machine may be full
	).Replace(string(config))
	if err := os.WriteFile(dir+"/config.xml", []byte(local), 0o600); err != nil {
		t.Fatal(err)
	}
	server := chdb.StartAt(t, dir+"/data", "--config-file="+dir+"/config.xml")
	s := opened(t, server.URL+"tiers", Options{})
	for _, statement := range statements(string(statementsOfTiers)) {
		if _, err := s.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, server.URL+"tiers", Options{Keep: Keep{Records: 200 * 24 * time.Hour}})
	for age, disk := range map[int]string{0: "default", 50: "warm_cached", 150: "cold"} {
		write(t, s, disk, records(age*100, 10, noon.AddDate(0, 0, -age)))
	}
	write(t, s, "gone", records(90000, 10, noon.AddDate(0, 0, -300)))
	s.settle(t)
	list := records(0, 10, noon)
	for _, disk := range []string{"default", "warm_cached", "cold"} {
		want := int64(len(list))
		query := fmt.Sprintf(`SELECT coalesce(sum(rows), 0) FROM system.parts WHERE database = currentDatabase() AND table = 'requests' AND active AND disk_name = '%s'`, disk)
		for deadline := time.Now().Add(20 * time.Second); s.number(t, query) != want; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d rows on %s, want %d", s.number(t, query), disk, want)
			}
		}
	}
}
