// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package ldcache

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func lib(name, path string) Library { return Library{Name: name, Path: path, Flags: 0x303} }

func TestMerge(t *testing.T) {
	all := func(string) bool { return true }
	c, z, x := lib("libc.so.6", "/lib/libc.so.6"), lib("libz.so.1", "/lib/libz.so.1"), lib("libx.so.10", "/lib/libx.so.10")
	old, y := lib("libx.so.9", "/lib/libx.so.9"), lib("liby.so.1", "/usr/local/lib/liby.so.1")
	got := Merge(Cache{z, old, c}, Cache{z, x, c}, Cache{z, y, old, c}, all)
	if want := (Cache{z, y, x, c}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	got = Merge(Cache{z, c}, Cache{z, x, c}, Cache{z, y, c}, func(path string) bool { return path != y.Path })
	if want := (Cache{z, x, c}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCompareNames(t *testing.T) {
	ordered := []string{"lib", "libA.so", "libx.so", "libx.so.2", "libx.so.9", "libx.so.10", "libx.so.010a", "liby.so"}
	for i := 1; i < len(ordered); i++ {
		if compareNames(ordered[i-1], ordered[i]) >= 0 || compareNames(ordered[i], ordered[i-1]) <= 0 {
			t.Errorf("%s and %s are out of order", ordered[i-1], ordered[i])
		}
	}
	if compareNames("libx.so.1", "libx.so.01") != 0 {
		t.Error("1 is not 01")
	}
}

// TestRealCache reads the cache of this system, writes it, and has ldconfig read it.
func TestRealCache(t *testing.T) {
	content, err := os.ReadFile("/etc/ld.so.cache")
	if err != nil {
		t.Skip("there is no cache here")
	}
	cache, ok := Parse(content)
	if !ok {
		t.Skip("the cache here is of another format")
	}
	if len(cache) == 0 {
		t.Fatal("it is empty")
	}
	if !slices.IsSortedFunc(cache, compare) {
		t.Error("ldconfig has another order")
	}
	shuffled := slices.Clone(cache)
	slices.Reverse(shuffled)
	merged := Merge(nil, nil, shuffled, func(string) bool { return true })
	for i := range merged {
		if compare(merged[i], cache[i]) != 0 {
			t.Fatalf("entry %d is %v, not %v", i, merged[i], cache[i])
		}
	}
	again, ok := Parse(cache.Render())
	if !ok || !slices.Equal(again, cache) {
		t.Fatal("it cannot be read again")
	}
	ldconfig, err := exec.LookPath("ldconfig")
	if err != nil {
		ldconfig = "/sbin/ldconfig"
	}
	file := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(file, cache.Render(), 0o600); err != nil {
		t.Fatal(err)
	}
	if listed(t, ldconfig, file) != listed(t, ldconfig, "/etc/ld.so.cache") {
		t.Error("ldconfig lists something else")
	}
}

// listed returns what ldconfig says about a cache, without the name of its generator.
func listed(t *testing.T, ldconfig, file string) string {
	t.Helper()
	out, err := exec.Command(ldconfig, "-C", file, "-p").Output()
	if err != nil {
		t.Skipf("ldconfig: %v", err)
	}
	var lines []string
	for line := range strings.SplitSeq(string(out), "\n") {
		if strings.Contains(line, " => ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func FuzzParse(f *testing.F) {
	f.Add(Cache{lib("a", "/a"), lib("b", "/b")}.Render())
	f.Fuzz(func(t *testing.T, content []byte) {
		cache, ok := Parse(content)
		if !ok {
			return
		}
		if again, ok := Parse(cache.Render()); !ok || !slices.Equal(again, cache) {
			t.Errorf("%v became %v", cache, again)
		}
	})
}
