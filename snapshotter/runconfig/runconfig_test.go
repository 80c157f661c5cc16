// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package runconfig

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"
)

// told writes changes as "subject name action".
func told(changes []Change) string {
	out := make([]string, 0, len(changes))
	for _, c := range changes {
		out = append(out, strings.Join(strings.Fields(c.Subject+" "+c.Name+" "+c.Action), " "))
	}
	return strings.Join(out, ", ")
}

func TestEnv(t *testing.T) {
	for _, c := range []struct{ name, is, older, newer, want, says string }{
		{"the old image's is replaced", "A=1", "A=1", "A=2", "A=2", "env A changed"},
		{"the user's own stays", "A=mine", "A=1", "A=2", "A=mine", "env A kept"},
		{"the user's own stays where the images agree", "A=mine", "A=1", "A=1", "A=mine", ""},
		{"one that the new image lacks is dropped", "A=1 B=1", "A=1 B=1", "A=1", "A=1", "env B dropped"},
		{"one that the user changed is not dropped", "A=1 B=mine", "A=1 B=1", "A=1", "A=1 B=mine", "env B kept"},
		{"a new one arrives", "A=1", "A=1", "A=1 B=2", "A=1 B=2", "env B added"},
		{"a new one does not replace the user's", "A=1 B=mine", "A=1", "A=1 B=2", "A=1 B=mine", "env B kept"},
		{"one that the user removed does not come back", "A=1", "A=1 B=1", "A=1 B=2", "A=1", ""},
		{"the last of two counts", "T=img A=1 T=mine", "T=img A=1", "T=other A=1", "T=other A=1 T=mine", "env T changed, env T kept"},
		{"order stays", "U=1 B=1 A=1", "A=1 B=1", "B=2 A=2", "U=1 B=2 A=2", "env B changed, env A changed"},
		{"without variables there is a path", defaultEnv, "", "PATH=/bin", "PATH=/bin", "env PATH changed"},
		{"values with an equals sign", "A=x=1", "A=x=1", "A=x=2", "A=x=2", "env A changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, changes := Rebase(State{Env: strings.Fields(c.is), Cwd: "/"}, ocispec.ImageConfig{Env: strings.Fields(c.older)}, ocispec.ImageConfig{Env: strings.Fields(c.newer)})
			if strings.Join(got.Env, " ") != c.want || told(changes) != c.says {
				t.Errorf("got %q, %s", got.Env, told(changes))
			}
		})
	}
}

func TestArgs(t *testing.T) {
	for _, c := range []struct{ name, is, older, newer, want, says string }{
		{"all of the image's", "run serve", "run|serve", "go|now", "go now", "args changed"},
		{"the entrypoint, before the user's", "run mine", "run|serve", "go -v|now", "go -v mine", "args changed"},
		{"the user's own", "sh", "run|serve", "go|now", "sh", "args kept"},
		{"only the command differs, and it is the user's", "run mine", "run|serve", "run|now", "run mine", ""},
		{"only the command differs", "run serve", "run|serve", "run|now", "run now", "args changed"},
		{"there was no entrypoint", "mine", "|serve", "go|now", "mine", "args kept"},
		{"there is no entrypoint any more", "run mine", "run|serve", "|now", "mine", "args changed"},
		{"it is the new one's already", "run -v mine", "run|serve", "run -v|now", "run -v mine", ""},
		{"nothing would be left", "run", "run|serve", "|now", "run", "args note"},
		{"the new image has no command", "run serve", "run|serve", "|", "run serve", "args note"},
		{"it cannot be told apart", "a b b c", "a b|x", "a|x", "a b b c", "args note"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, changes := Rebase(State{Args: strings.Fields(c.is), Env: []string{defaultEnv}, Cwd: "/"}, entry(c.older), entry(c.newer))
			if strings.Join(got.Args, " ") != c.want || told(changes) != c.says {
				t.Errorf("got %q, %s", got.Args, told(changes))
			}
		})
	}
}

// entry reads "entrypoint|command".
func entry(text string) ocispec.ImageConfig {
	entrypoint, cmd, _ := strings.Cut(text, "|")
	return ocispec.ImageConfig{Entrypoint: strings.Fields(entrypoint), Cmd: strings.Fields(cmd)}
}

func TestUser(t *testing.T) {
	for _, c := range []struct {
		name         string
		is           User
		older, newer string
		want         User
		says         string
	}{
		{"numbers", User{1, 2, []uint32{2}}, "1:2", "3:4", User{3, 4, []uint32{4}}, "user changed"},
		{"root, by saying nothing", User{0, 0, []uint32{0}}, "", "3:4", User{3, 4, []uint32{4}}, "user changed"},
		{"groups beyond the own one", User{1, 2, []uint32{2, 9}}, "1:2", "3:4", User{3, 4, []uint32{4, 9}}, "user changed, user note"},
		{"the user's own", User{7, 7, nil}, "1:2", "3:4", User{7, 7, nil}, "user kept"},
		{"the new one already", User{3, 4, nil}, "1:2", "3:4", User{3, 4, nil}, ""},
		{"names", User{1, 2, nil}, "1:2", "app", User{1, 2, nil}, "user note"},
		{"a user without a group", User{1, 2, nil}, "1:2", "3", User{1, 2, nil}, "user note"},
		{"too large", User{1, 2, nil}, "1:2", "4294967295:1", User{1, 2, nil}, "user note"},
		{"the same name", User{1, 2, nil}, "app", "app", User{1, 2, nil}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, changes := Rebase(State{User: c.is, Env: []string{defaultEnv}, Cwd: "/"}, ocispec.ImageConfig{User: c.older}, ocispec.ImageConfig{User: c.newer})
			if !reflect.DeepEqual(got.User, c.want) || told(changes) != c.says {
				t.Errorf("got %v, %s", got.User, told(changes))
			}
		})
	}
}

func TestDirectoryAndLabels(t *testing.T) {
	older := ocispec.ImageConfig{WorkingDir: "/old", StopSignal: "SIGQUIT", Labels: map[string]string{"v": "1", "own": "1", "gone": "1", "removed": "1", "containerd.io/x": "1"}}
	newer := ocispec.ImageConfig{Labels: map[string]string{"v": "2", "own": "2", "removed": "2", "new": "2", "empty": "", "containerd.io/x": "2", "io.cri-containerd.kind": "sandbox"}}
	is := State{Cwd: "/old", Env: []string{defaultEnv}, Labels: map[string]string{"v": "1", "own": "mine", "gone": "1", "user": "x", stopSignalLabel: "SIGQUIT", "containerd.io/x": "1"}}
	got, changes := Rebase(is, older, newer)
	want := map[string]string{"v": "2", "own": "mine", "new": "2", "user": "x", stopSignalLabel: "SIGTERM", "containerd.io/x": "1"}
	if got.Cwd != "/" || !maps.Equal(got.Labels, want) {
		t.Errorf("got %q, %v", got.Cwd, got.Labels)
	}
	if says := "cwd changed, label gone dropped, label " + stopSignalLabel + " changed, label new added, label own kept, label v changed"; told(changes) != says {
		t.Errorf("it says %s", told(changes))
	}
	if own, changes := Rebase(State{Cwd: "/mine"}, older, ocispec.ImageConfig{WorkingDir: "/new"}); own.Cwd != "/mine" || !strings.Contains(told(changes), "cwd kept") {
		t.Errorf("got %q, %s", own.Cwd, told(changes))
	}
}

// drawn are few words, so that they meet.
func drawn(t *rapid.T, name string, words ...string) []string {
	return rapid.SliceOfN(rapid.SampledFrom(words), 0, 4).Draw(t, name)
}

func drawnLabels(t *rapid.T, name string) map[string]string {
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", stopSignalLabel}), rapid.SampledFrom([]string{"1", "2", "3"}), 0, 4).Draw(t, name)
}

func drawnConfig(t *rapid.T, name string) ocispec.ImageConfig {
	return ocispec.ImageConfig{
		Env:        drawn(t, name+" env", "A=1", "A=2", "B=1", "B=2", "C=1"),
		Entrypoint: drawn(t, name+" entrypoint", "x", "y"), Cmd: drawn(t, name+" cmd", "x", "y"),
		WorkingDir: rapid.SampledFrom([]string{"", "/", "/a", "/b"}).Draw(t, name+" cwd"),
		User:       rapid.SampledFrom([]string{"", "0:0", "1:1", "2:1", "app"}).Draw(t, name+" user"),
		Labels:     drawnLabels(t, name+" labels"),
	}
}

// TestProperties: nothing of the user's is lost, images that agree change nothing, and once is as good as twice.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		older, newer := drawnConfig(t, "older"), drawnConfig(t, "newer")
		is := State{
			Env:  slices.Concat(effectiveEnv(older), drawn(t, "own env", "A=mine", "D=mine", "B=2")),
			Args: slices.Concat(older.Entrypoint, drawn(t, "own args", "x", "y", "z")),
			Cwd:  rapid.SampledFrom([]string{or(older.WorkingDir, "/"), "/mine"}).Draw(t, "cwd"),
			User: User{UID: rapid.Uint32Range(0, 3).Draw(t, "uid"), GID: 1, Groups: []uint32{1}}, Labels: drawnLabels(t, "labels"),
		}
		before := fmt.Sprint(is)
		got, _ := Rebase(is, older, newer)
		if fmt.Sprint(is) != before {
			t.Fatal("the given state was changed")
		}
		if again, _ := Rebase(got, older, newer); fmt.Sprint(again) != fmt.Sprint(got) {
			t.Fatalf("a second time gives %v, the first %v", again, got)
		}
		if same, changes := Rebase(is, older, older); fmt.Sprint(same) != before || len(changes) > 0 {
			t.Fatalf("images that agree change %v", changes)
		}
		for _, entry := range is.Env {
			if !slices.Contains(effectiveEnv(older), entry) && !slices.Contains(got.Env, entry) {
				t.Fatalf("lost %s: %v", entry, got.Env)
			}
		}
		for key, value := range is.Labels {
			if effectiveLabels(older)[key] != value && got.Labels[key] != value {
				t.Fatalf("lost label %s: %v", key, got.Labels)
			}
		}
		if is.Cwd == "/mine" && got.Cwd != is.Cwd {
			t.Fatal("lost the directory")
		}
		if slices.Contains(is.Args, "z") && !slices.Contains(got.Args, "z") {
			t.Fatalf("lost a part of the command: %v", got.Args)
		}
	})
}

// TestSpec: what is not a default of an image is written as it was read.
func TestSpec(t *testing.T) {
	const spec = `{"ociVersion":"1.3.0","later":[1,{"x":null}],"process":{"terminal":true,"user":{"uid":0,"gid":0,"umask":18,"additionalGids":[0,10]},"args":["sh"],"env":["A=1"],"cwd":"/","later":9007199254740993},"root":{"path":"rootfs"}}`
	s, err := ReadSpec([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	if want := (State{Env: []string{"A=1"}, Args: []string{"sh"}, Cwd: "/", User: User{Groups: []uint32{0, 10}}}); !reflect.DeepEqual(s, want) {
		t.Errorf("read %+v", s)
	}
	for _, c := range []struct {
		change func(*State)
		want   string
	}{
		{func(*State) {}, spec},
		{func(s *State) { s.Env = nil }, strings.Replace(spec, `"env":["A=1"],`, "", 1)},
		{func(s *State) { s.User = User{UID: 3, GID: 4, Groups: []uint32{4}} }, strings.Replace(spec, `"uid":0,"gid":0,"umask":18,"additionalGids":[0,10]`, `"uid":3,"gid":4,"umask":18,"additionalGids":[4]`, 1)},
		{func(s *State) { s.Args, s.Cwd = []string{"<a>"}, "/x" }, strings.Replace(spec, `"args":["sh"],"env":["A=1"],"cwd":"/"`, `"args":["<a>"],"env":["A=1"],"cwd":"/x"`, 1)},
	} {
		next := s
		c.change(&next)
		data, err := WriteSpec([]byte(spec), next)
		if err != nil {
			t.Fatal(err)
		}
		if got := generic(t, data); !reflect.DeepEqual(got, generic(t, []byte(c.want))) || !strings.Contains(string(data), "9007199254740993") {
			t.Errorf("got %s", data)
		}
	}
	for _, bad := range []string{"", "[]", "{}", `{"process":7}`, `{"process":{"env":"A=1"}}`} {
		if s, err := ReadSpec([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, s)
		}
	}
}

func generic(t *testing.T, data []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// FuzzSpec reads and writes specifications: what was read is written, and reading it again gives the same.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.2","process":{"env":["A=1"],"args":["sh"],"cwd":"/","user":{"uid":1,"additionalGids":[2]},"x":{"y":1}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		state, err := ReadSpec(data)
		if err != nil {
			return
		}
		written, err := WriteSpec(data, state)
		if err != nil {
			return // what is read loosely is not always there to be written
		}
		again, err := ReadSpec(written)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(state) {
			t.Errorf("%q is read as %+v, written as %q and read as %+v: %v", data, state, written, again, err)
		}
	})
}
