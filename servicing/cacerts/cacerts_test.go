// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package cacerts

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// issue makes a certificate with a common name.
func issue(t testing.TB, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Test"}}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestMerge(t *testing.T) {
	certs := map[string][]byte{}
	for _, name := range []string{"a", "b", "c", "new", "local", "own"} {
		certs[name] = issue(t, name)
	}
	all := func(names string) []byte {
		var out []byte
		for name := range strings.FieldsSeq(names) {
			out = append(out, certs[name]...)
		}
		return out
	}
	each := func(names string) (out [][]byte) {
		for name := range strings.FieldsSeq(names) {
			out = append(out, certs[name])
		}
		return out
	}
	for _, c := range []struct{ name, old, base, user, trusted, available, want string }{
		{"distrusted by the base, the user's own in a directory", "a b", "a new", "a b local", "a new local", "a b local", "a new local"},
		{"distrusted by the base, the user's own by hand", "a b", "a new", "a b own", "a new", "a b", "a new own"},
		{"taken out by the user by hand", "a b c", "a b c new", "a c", "a b c new", "a b c", "a c new"},
		{"gone with the user's version of the package", "a b c", "a b c new", "a c", "a b c new", "a c", "a b c new"},
		{"no files", "a b", "a new", "a b own", "", "", "a new own"},
		{"no files, taken out by the user", "a b c", "a b c new", "a c", "", "", "a c new"},
		{"by hand, in the base now", "a", "a own", "a own", "a own", "a", "a own"},
	} {
		got := Merge(all(c.old), all(c.base), all(c.user), each(c.trusted), each(c.available))
		if !bytes.Equal(got, all(c.want)) {
			t.Errorf("%s: got %d certificates, want %q", c.name, len(Certificates(got)), c.want)
		}
	}
	if got := Merge(nil, nil, nil, [][]byte{bytes.TrimSpace(certs["a"]), certs["b"], {}}, nil); !bytes.Equal(got, all("a b")) {
		t.Error("a file without an end of its last line")
	}
}

func TestConfig(t *testing.T) {
	if got := Selected([]byte("# x\n\nmozilla/A.crt\n!mozilla/B.crt\nC D.crt\n")); !slices.Equal(got, []string{"mozilla/A.crt", "C D.crt"}) {
		t.Errorf("got %q", got)
	}
	for line, want := range map[string]string{"# x": "", "": "", "a.crt": "a.crt", "!a.crt": "a.crt"} {
		if got := Key(line); got != want {
			t.Errorf("%q: %q", line, got)
		}
	}
	if got := StoreName("usr/share/x/A (b), c.crt"); got != "A_=b=__c.pem" {
		t.Errorf("got %q", got)
	}
}

func TestLinks(t *testing.T) {
	got := Links(map[string]string{
		"A.pem": "/" + SystemDir + "/m/A.crt", "B.pem": "/" + SystemDir + "/m/B.crt", "own.pem": "", "x.pem": "/root/x.crt", "00000000.0": "A.pem",
	}, []string{SystemDir + "/m/A.crt", LocalDir + "/C.crt", LocalDir + "/own.crt"})
	want := map[string]string{"B.pem": "", "C.pem": "/" + LocalDir + "/C.crt"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// TestRehash compares with openssl itself, with subjects in all the forms in which they are written.
func TestRehash(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	for i, args := range [][]string{
		{"-subj", "/CN=Plain"}, {"-subj", "/CN=  Two   spaces  and CAPITALS /O=x"}, {"-utf8", "-subj", "/CN=Größe Ünï/O=Žluťoučký"}, {"-subj", "/CN=a+OU=b+O=zz/C=DE", "-multivalue-rdn"},
		{"-subj", "/emailAddress=A@Example.ORG/CN=x"}, {"-subj", "/"}, {"-utf8", "-subj", "/CN=same subject"}, {"-utf8", "-subj", "/CN=Same  Subject"},
	} {
		for _, mask := range []string{"utf8only", "nombstr", "MASK:0x800", "MASK:0x2"} { // UTF-8, T61 or printable, BMP, printable
			name := filepath.Join(dir, string(rune('a'+i))+"-"+strings.ReplaceAll(mask, ":", "")+".pem")
			config := filepath.Join(dir, "config")
			if err := os.WriteFile(config, []byte("[req]\nstring_mask="+mask+"\ndistinguished_name=dn\n[dn]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("openssl", append([]string{"req", "-config", config, "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-out", name}, args...)...).CombinedOutput()
			if err != nil && mask == "utf8only" {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	if err := os.Remove(filepath.Join(dir, "config")); err != nil {
		t.Fatal(err)
	}
	var files []File
	names, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil || len(names) < 16 {
		t.Fatalf("%d certificates: %v", len(names), err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 0 {
			files = append(files, File{filepath.Base(name), content})
		}
	}
	if out, err := exec.Command("openssl", "rehash", dir).CombinedOutput(); err != nil {
		t.Logf("openssl rehash: %v: %s", err, out) // it complains about the empty files of what could not be made
	}
	want := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			want[e.Name()] = target
		}
	}
	if got := Rehash(files, nil); !maps.Equal(got, want) || len(want) < 16 {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if got := Rehash(files, want); len(got) != 0 {
		t.Errorf("nothing is to be done, but %v", got)
	}
}

func TestRehashKeepsWhatIsRight(t *testing.T) {
	a, b := issue(t, "x"), issue(t, "x")
	hash, ok := Subject(a)
	if !ok {
		t.Fatal("no subject")
	}
	got := Rehash([]File{{"a.pem", a}, {"b.pem", b}, {"copy.pem", a}, {"two.pem", slices.Concat(a, b)}}, map[string]string{
		hash + ".0": "b.pem", hash + ".1": "gone.pem", hash + ".2": "/root/mine.pem", "ffffffff.0": "a.pem", "a.pem": "/x",
	})
	want := map[string]string{hash + ".1": "a.pem", "ffffffff.0": ""}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzSubject(f *testing.F) {
	f.Add(issue(f, "seed"))
	f.Fuzz(func(t *testing.T, content []byte) {
		Subject(content)
		if der := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: content}); der != nil {
			Subject(der)
		}
		merged := Merge(content, content, content, nil, nil)
		if !bytes.Equal(merged, content) {
			t.Errorf("nothing changed, but %q became %q", content, merged)
		}
	})
}
