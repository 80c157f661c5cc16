// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package reports_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/reports"
)

func sample() *servicing.Report {
	return &servicing.Report{
		Version: 1, Counts: map[servicing.Verdict]int{servicing.Keep: 2},
		Paths: []servicing.PathReport{
			{Path: "etc/a", Verdict: servicing.Keep, Was: "etc/was"}, {Path: "odd\ufffd", PathBytes: []byte("odd\xff")},
			{Path: `quo"te, {[`, Verdict: servicing.Merge},
		},
		Effects:  []servicing.EffectReport{{Path: "etc/a", What: "whiteout"}},
		Holds:    []servicing.Reason{{Message: "no path"}, {Message: "x", Path: "etc/a"}},
		Packages: []servicing.PackageReport{{Name: "p"}}, Withheld: []servicing.Withheld{{Path: "w", Mode: 5}}, Waiting: []servicing.Waiting{{Package: "w", Kept: "1"}},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// written returns what is written of a report.
func written(t *testing.T, d *reports.Dir, path string) *servicing.Report {
	t.Helper()
	var b strings.Builder
	must(t, d.Write(&b, "u1-n2.json", path))
	r := &servicing.Report{}
	must(t, json.Unmarshal([]byte(b.String()), r))
	return r
}

// TestReports: a report is read as it was written, as a whole or what it says about one path; also one in which the fields
// have another order, as in those of earlier versions, and one with fields and white space that this version would not write.
func TestReports(t *testing.T) {
	dir := t.TempDir()
	d := reports.Open(dir, os.Remove)
	done, err := d.Save("u1-n2.json", sample())
	must(t, err)
	done()
	for name, rewrite := range map[string]func(*servicing.Report) ([]byte, error){
		"as it was saved": nil,
		"in another order": func(r *servicing.Report) ([]byte, error) {
			rest := map[string]json.RawMessage{}
			err := json.Unmarshal(list(t, r), &rest)
			delete(rest, "paths")
			text := `{"paths": %s, "later" : {"x": [1, {}]}, "none": null, ` + "\n" + `%s`
			return fmt.Appendf(nil, text, list(t, r.Paths), list(t, rest)[1:]), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if rewrite != nil {
				data, err := rewrite(sample())
				must(t, err)
				must(t, os.WriteFile(filepath.Join(dir, "u1-n2.json"), data, 0o600))
			}
			if got := written(t, d, ""); !reflect.DeepEqual(got.Paths, sample().Paths) || len(got.Holds) != 2 {
				t.Errorf("the whole report is %+v", got)
			}
			one := written(t, d, "etc/a")
			if len(one.Paths) != 1 || one.Paths[0].Path != "etc/a" || len(one.Effects) != 1 || len(one.Holds) != 1 || len(one.Packages) != 0 || one.Counts[servicing.Keep] != 2 {
				t.Errorf("on one path it says %+v", one)
			}
			for path, want := range map[string]int{"odd\xff": 1, "odd\ufffd": 0, `quo"te, {[`: 1, "etc": 0} {
				if got := written(t, d, path); len(got.Paths) != want {
					t.Errorf("on %q it says %+v", path, got)
				}
			}
			p, found, err := d.Path("u1-n2.json", "etc/a")
			if err != nil || !found || p.Was != "etc/was" {
				t.Errorf("got %+v, %v, %v", p, found, err)
			}
			left, err := d.LeftBehind("u1-n2.json")
			if err != nil || len(left.Withheld) != 1 || left.Withheld[0].Mode != 5 || len(left.Waiting) != 1 || left.Waiting[0].Kept != "1" {
				t.Errorf("left behind is %v, %v", left, err)
			}
		})
	}
}

func list(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return data
}

// TestPathsComeLast: whatever the order in the file, what is short comes first.
func TestPathsComeLast(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "r"), []byte(`{"version":1,"paths":[{"path":"a"}],"effects":[],"holds":[],"forced":true}`), 0o600))
	var b strings.Builder
	must(t, reports.Open(dir, os.Remove).Write(&b, "r", ""))
	if want := `{"version":1,"holds":[],"forced":true,"paths":[{"path":"a"}],"effects":[]}`; b.String() != want {
		t.Errorf("got %s", &b)
	}
}

// TestDamagedReports: a report that is cut, or is none, is an error and never a shorter one.
func TestDamagedReports(t *testing.T) {
	dir := t.TempDir()
	d := reports.Open(dir, os.Remove)
	data := list(t, sample())
	for i := range data {
		must(t, os.WriteFile(filepath.Join(dir, "cut"), data[:i], 0o600))
		if err := d.Write(io.Discard, "cut", ""); err == nil {
			t.Fatalf("the first %d bytes were a report", i)
		}
	}
	for _, text := range []string{"[]", "1", `{"paths":[}`, "\x00"} {
		must(t, os.WriteFile(filepath.Join(dir, "cut"), []byte(text), 0o600))
		if err := d.Write(io.Discard, "cut", "x"); err == nil {
			t.Errorf("%q was a report", text)
		}
	}
	if err := d.Write(io.Discard, "gone", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestSweep: what no record names goes at once, whatever its age; what is in the making stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	d := reports.Open(dir, os.Remove)
	must(t, os.WriteFile(filepath.Join(dir, "left.json.new"), nil, 0o600)) // by a crash
	ends := map[string]func(){}
	for _, name := range []string{"named.json", "unnamed.json", "making.json", "twice.json"} {
		done, err := d.Save(name, sample())
		must(t, err)
		ends[name] = done
	}
	_, err := d.Save("twice.json", sample())
	must(t, err)
	for _, name := range []string{"named.json", "unnamed.json", "twice.json"} {
		ends[name]()
	}
	named := func() map[string]bool { return map[string]bool{"named.json": true} }
	must(t, d.Sweep(named))
	if got, want := names(t, dir), []string{"making.json", "named.json", "twice.json"}; !slices.Equal(got, want) {
		t.Errorf("left are %q, not %q", got, want)
	}
	ends["making.json"]()
	must(t, d.Sweep(named))
	if got, want := names(t, dir), []string{"named.json", "twice.json"}; !slices.Equal(got, want) {
		t.Errorf("left are %q, not %q", got, want)
	}
}

// TestSweepRace: reports that are named before their making ends are never swept, with sweeps all along.
func TestSweepRace(t *testing.T) {
	d := reports.Open(t.TempDir(), os.Remove)
	var (
		mu    sync.Mutex
		named = map[string]bool{}
		wg    sync.WaitGroup
		stop  = make(chan struct{})
	)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := d.Sweep(func() map[string]bool {
				mu.Lock()
				defer mu.Unlock()
				now := map[string]bool{}
				for name := range named {
					now[name] = true
				}
				return now
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 300 {
		name := fmt.Sprintf("u%d.json", i)
		done, err := d.Save(name, sample())
		must(t, err)
		mu.Lock()
		named[name] = true
		mu.Unlock()
		done()
	}
	close(stop)
	wg.Wait()
	for name := range named {
		if there, err := d.Has(name); err != nil || !there {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
}
