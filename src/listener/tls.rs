//! The listener's certificate, and whose certificates it asks for.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// Where the certificates are.
#[derive(Clone, Debug)]
pub struct Files {
    /// The listener's certificate and those that lead to its root, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Those who may sign the certificates of VMs' hosts, PEM. Without it they are not asked for one.
    pub vm_ca: Option<PathBuf>,
    /// Those who may sign the certificates of the API's clients, PEM. Without it there is no API on TCP, unless
    /// it is for anyone.
    pub client_ca: Option<PathBuf>,
    /// The API on TCP is for whoever reaches its port.
    pub api_anyone: bool,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("{}: {source}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// A file without any certificate in it.
    #[error("{}: no certificate in it: expected PEM, -----BEGIN CERTIFICATE-----", .0.display())]
    Empty(PathBuf),
    /// Certificate and key do not go together, or are of a kind that is not known.
    #[error("certificate {}: {source}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The clients' roots are none.
    #[error("client certificates' roots in {}: {source}", .path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: VerifierBuilderError,
    },
}

/// TLS as the listener speaks it, or not at all.
#[derive(Debug, Default)]
pub struct Tls {
    files: Option<Files>,
    configs: RwLock<Configs>,
}

#[derive(Debug, Default)]
struct Configs {
    vms: Option<Arc<ServerConfig>>,
    api: Option<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them is not what it should be.
    pub fn open(files: Option<Files>) -> Result<Self, TlsError> {
        let tls = Self {
            files,
            configs: RwLock::default(),
        };
        tls.reload()?;
        Ok(tls)
    }

    /// Reads the files again: connections from now on get what they say now.
    ///
    /// # Errors
    /// One of them is not what it should be; nothing has changed.
    pub fn reload(&self) -> Result<(), TlsError> {
        let Some(files) = &self.files else {
            return Ok(());
        };
        let vms = files.read(files.vm_ca.as_ref())?;
        let api = match &files.client_ca {
            Some(roots) => Some(Arc::new(files.read(Some(roots))?)),
            None if files.api_anyone => Some(Arc::new(files.read(None)?)),
            None => None,
        };
        *self.configs.write().unwrap_or_else(PoisonError::into_inner) = Configs {
            vms: Some(Arc::new(vms)),
            api,
        };
        Ok(())
    }

    /// What a VM's connection that begins now is answered with. `None`: there is no certificate.
    pub fn vms(&self) -> Option<Arc<ServerConfig>> {
        let configs = self.configs.read().unwrap_or_else(PoisonError::into_inner);
        configs.vms.clone()
    }

    /// What an API client is answered with. `None`: there is no API on TCP.
    pub fn api(&self) -> Option<Arc<ServerConfig>> {
        let configs = self.configs.read().unwrap_or_else(PoisonError::into_inner);
        configs.api.clone()
    }
}

impl Files {
    fn read(&self, roots: Option<&PathBuf>) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| TlsError::Pem {
            path: self.key.clone(),
            source,
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = |source| TlsError::Certificate {
            path: self.certificate.clone(),
            source,
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(certificate)?;
        let builder = match roots {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut store = RootCertStore::empty();
                for root in certificates(path)? {
                    store.add(root).map_err(|source| TlsError::Certificate {
                        path: path.clone(),
                        source,
                    })?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
                        .build()
                        .map_err(|source| TlsError::Roots {
                            path: path.clone(),
                            source,
                        })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        builder.with_single_cert(chain, key).map_err(certificate)
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem {
        path: path.clone(),
        source,
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(pem)?
        .collect::<Result<_, _>>()
        .map_err(pem)?;
    if found.is_empty() {
        return Err(TlsError::Empty(path.clone()));
    }
    Ok(found)
}
