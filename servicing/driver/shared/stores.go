// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// store is a kind of directory whose files refer to one another: what one of them says is only true with the others.
type store struct {
	kind string
	has  []string // patterns of names that are all in such a directory
}

// stores are all kinds that are known. The first that matches names the directory.
var stores = []store{
	// Databases.
	{"PostgreSQL", []string{"PG_VERSION"}},
	{"MySQL", []string{"ibdata1"}},
	{"MongoDB", []string{"WiredTiger"}},
	{"LMDB", []string{"data.mdb"}},
	{"Berkeley DB", []string{"__db.001"}},
	{"Berkeley DB", []string{"DB_CONFIG"}},
	{"LevelDB", []string{"CURRENT", "MANIFEST-*"}},
	{"Redis", []string{"*.aof.manifest"}},
	{"etcd", []string{"snap", "wal"}},
	{"Raft", []string{"raft.db"}},
	{"ClickHouse", []string{"store", "metadata"}},
	{"Cassandra", []string{"commitlog", "data"}},
	{"CouchDB", []string{"_dbs.couch"}},
	{"InfluxDB", []string{"meta", "wal", "data"}},
	{"Prometheus", []string{"chunks_head"}},
	{"Neo4j", []string{"neostore"}},
	{"OpenLDAP", []string{"id2entry.bdb"}},
	{"Samba", []string{"sam.ldb", "sam.ldb.d"}},
	// Version control.
	{"git work tree", []string{gitDir}},
	{"git repository", []string{"HEAD", "objects", "refs"}},
	{"Mercurial", []string{".hg"}},
	{"Subversion", []string{".svn"}},
	{"Subversion repository", []string{"db", "format", "hooks"}},
	{"Bazaar", []string{".bzr"}},
	{"Jujutsu", []string{".jj"}},
	{"Fossil", []string{".fslckout"}},
	{"Fossil", []string{"_FOSSIL_"}},
	// Stores by content, and in layers.
	{"Docker", []string{"overlay2", "image"}},
	{"containerd", []string{"io.containerd.*"}},
	{"containers/storage", []string{"overlay-images", "overlay-layers"}},
	{"OCI layout", []string{"oci-layout", "blobs"}},
	{"OSTree", []string{"config", "objects", "refs"}},
	{"restic", []string{"config", "data", "index", "snapshots"}},
	{"Borg", []string{"config", "data", "index.*"}},
	{"Nix", []string{"store", "var"}},
	{"registry", []string{"blobs", "repositories"}},
	{"IPFS", []string{"blocks", "datastore"}},
	{"bup or Perkeep", []string{"blobs", "index"}},
	// Caches of package managers and compilers.
	{"npm cache", []string{"content-v2", "index-v5"}},
	{"pip cache", []string{"http-v2"}},
	{"pip cache", []string{"http", "selfcheck"}},
	{"Go module cache", []string{"cache", "github.com"}},
	{"Go build cache", []string{"trim.txt", "00", "ff"}},
	{"cargo registry", []string{"index", "cache", "CACHEDIR.TAG"}},
	{"cargo registry", []string{"index", "cache", "src"}},
	{"Gradle cache", []string{"modules-*", "journal-*"}},
	{"ccache", []string{"ccache.conf", "CACHEDIR.TAG"}},
	{"composer cache", []string{"files", "repo", "vcs"}},
	{"conda packages", []string{"urls.txt", "cache"}},
	{"flatpak", []string{"repo", "exports", "app"}},
	// Indexes for searching, and queues.
	{"Lucene", []string{"segments_*"}},
	{"Lucene", []string{"write.lock", "segments.gen"}},
	{"Xapian", []string{"iamglass"}},
	{"Xapian", []string{"iamchert"}},
	{"Elasticsearch", []string{"nodes", "node.lock"}},
	{"Tantivy", []string{"meta.json", ".managed.json"}},
	{"Sphinx", []string{"*.sph", "*.spd"}},
	{"Kafka", []string{"meta.properties", "cleaner-offset-checkpoint"}},
	{"Kafka", []string{"00000000000000000000.log"}},
	{"RabbitMQ", []string{"msg_stores"}},
	{"RabbitMQ", []string{"schema.DAT"}},
	{"NATS", []string{"jetstream"}},
	{"Mnesia", []string{"LATEST.LOG", "*.DCD"}},
	{"notmuch", []string{"xapian", ".notmuch"}},
	{"Dovecot", []string{"dovecot.index.log"}},
	{"Dovecot", []string{"dbox-Mails"}},
}

// gitDir is where git keeps what it knows of the files beside.
const gitDir = ".git"

// kindOf returns the kind of store that a directory with some names is, "" for none.
func kindOf(names []string) string {
	for _, s := range stores {
		all := true
		for _, pattern := range s.has {
			all = all && slices.ContainsFunc(names, func(name string) bool {
				is, err := path.Match(pattern, name)
				return err == nil && is
			})
		}
		if all {
			return s.kind
		}
	}
	return ""
}

// systemDirs hold what is of many packages. A work tree there, as etckeeper has one, is no store: what git knows of
// it is.
var systemDirs = []string{"etc", "usr", "var", "opt", "srv", "home", "root", "usr/local", "var/lib", "var/www"}

// packageDirs hold packages of languages: what is below one is of a package, whatever it is called.
var packageDirs = []string{"node_modules", "site-packages", "dist-packages", "site-library"}

// InPackages reports whether a path is in a directory of packages of a language.
func InPackages(p string) bool {
	for name := range strings.SplitSeq(p, "/") {
		if slices.Contains(packageDirs, name) {
			return true
		}
	}
	return false
}

// isStore returns the kind of store that a directory is, "" for none.
func isStore(dir string, names []string) string {
	if dir == "." || slices.Contains(systemDirs, dir) && slices.Contains(names, gitDir) || InPackages(dir) {
		return ""
	}
	return kindOf(names)
}

// Stores finds the stores that directories belong to, and remembers them.
type Stores struct {
	views *sides.Views
	roots map[string]string // by directory, that of the store that it belongs to
	kinds map[string]string // by directory of a store
}

// NewStores returns what finds the stores of a plan.
func NewStores(p plan.Plan) *Stores {
	return &Stores{views: p.Views(), roots: make(map[string]string), kinds: make(map[string]string)}
}

// Kind returns what a directory that Root returned is.
func (s *Stores) Kind(root string) string { return s.kinds[root] }

// Root returns the outermost directory of the store that a directory belongs to; "" for none, or when neither base has
// that directory: then nobody else has anything to say about it.
func (s *Stores) Root(dir string) (string, error) {
	if dir == "." {
		return "", nil
	}
	if root, known := s.roots[dir]; known {
		return root, nil
	}
	root, err := s.Root(path.Dir(dir))
	if err != nil {
		return "", err
	}
	if root == "" {
		if root, err = s.own(dir); err != nil {
			return "", err
		}
	}
	s.roots[dir] = root
	return root, nil
}

// own returns a directory if it is a store.
func (s *Stores) own(dir string) (string, error) {
	old, err := sides.Lookup(s.views.Old, dir)
	if err != nil {
		return "", err
	}
	base, err := sides.Lookup(s.views.New, dir)
	if err != nil || !old.Dir() && !base.Dir() {
		return "", err
	}
	names, err := sides.ReadDir(s.views.User, dir)
	if err != nil {
		return "", err
	}
	if s.kinds[dir] = isStore(dir, names); s.kinds[dir] == "" {
		return "", nil
	}
	return dir, nil
}
