package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"jarvis-gateway/bench/peers"
	"jarvis-gateway/proxy/usage"
)

func newBucket(t testing.TB, at, endpoint string) bucket {
	t.Helper()
	p, err := openPlace(t.Context(), at, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	b := p.(bucket)
	if _, err := b.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &b.name}); err != nil {
		t.Fatal(err)
	}
	return b
}

// An object of several parts is there when it is whole, and not before.
func TestParts(t *testing.T) {
	b := newBucket(t, "s3://lake/usage/", peers.AWS(t))
	content := make([]byte, 2*partSize+12345)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	for _, size := range []int{0, 1, partSize, len(content)} {
		u, err := b.create(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write(content[:size]); err != nil {
			t.Fatal(err)
		}
		if o, err := b.open(t.Context(), "x"); err == nil && o.size == int64(size) {
			t.Errorf("%d bytes are there before their end", size)
		}
		if err := end(t.Context(), u, nil); err != nil {
			t.Fatal(err)
		}
		o, err := b.open(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		digest, want := sha256.New(), sha256.Sum256(content[:size])
		if _, err := o.reader().WriteTo(digest); err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(digest.Sum(nil)) != hex.EncodeToString(want[:]) || o.size != int64(size) {
			t.Errorf("%d bytes came back as %d others", size, o.size)
		}
	}
	u, _ := b.create(t.Context(), "y")
	if _, err := u.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := end(t.Context(), u, io.ErrUnexpectedEOF); err != io.ErrUnexpectedEOF && err == nil {
		t.Error(err)
	}
	left, err := b.client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &b.name})
	if err != nil || len(left.Uploads) > 0 {
		t.Errorf("%d uploads are left: %v", len(left.Uploads), err)
	}
}

// A bucket gets what a folder gets, and rows are deleted that were read back from there.
func TestBucket(t *testing.T) {
	endpoint := peers.AWS(t)
	b := newBucket(t, "s3://lake/usage", endpoint)
	s := opened(t, "sqlite:"+t.TempDir()+"/usage.db")
	write(t, s, records(0, 200, today.Add(-3*lasts)))
	dir := t.TempDir()
	for _, format := range []string{"parquet", "jsonl"} {
		run(t, s, Options{To: dir + "/" + format, Format: format, now: today})
		o := Options{To: "s3://lake/usage/" + format, Endpoint: endpoint, Format: format, now: today}
		run(t, s, o)
		o.Resume = true
		if sum := run(t, s, o); sum.Rows != 0 || sum.Objects != 3 {
			t.Errorf("resumed: %+v", sum)
		}
	}
	files := tree(t, dir)
	for name, want := range files {
		o, err := b.open(t.Context(), name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := make([]byte, o.size)
		if _, err := o.ReadAt(got, 0); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, want %d: %v", name, len(got), len(want), err)
		}
	}
	list, err := b.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &b.name})
	if err != nil || len(list.Contents) != len(files) {
		t.Errorf("%d objects, want %d: %v", len(list.Contents), len(files), err)
	}
	sum := run(t, s, Options{To: "s3://lake/usage/parquet", Endpoint: endpoint, Format: "parquet", Delete: true, now: today})
	if got := counts(t, s, today.Add(-3*lasts)); got[0] != 0 || got[1] != 0 || sum.Deleted == 0 {
		t.Errorf("%d are left: %+v", got, sum)
	}
	var n note
	p := piece{table: "requests", day: today.Add(-3 * lasts), n: 1}
	o, err := b.open(t.Context(), "parquet/"+p.noteName())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(io.NewSectionReader(o, 0, o.size)).Decode(&n); err != nil || n.Rows != 200 || !n.Deleting || n.Last == (usage.UID{}).String() {
		t.Errorf("%+v %v", n, err)
	}
}
