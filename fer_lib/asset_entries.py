"""What can be downloaded: every entry of the registry; `assets` fetches and checks them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Asset:
    """One downloadable file.

    Attributes:
        name: key in the registry.
        url: where it is, at a pinned version.
        filename: its name under ``data/raw``.
        sha256: hex digest of the file; empty where it is not known, so that only the commit or
            release in the URL is pinned: then the first download's digest is recorded and every
            later check holds against that.
        licence: what its owners allow.
        note: what it is, and what to do when it cannot be downloaded.
        copies: names and digests of other files with the same content; one that lies under
            ``data/raw`` or among the shared assets is taken instead of a download, among the
            shared ones before the file itself.
        converted: the file was made from what lies at ``url``, as ``note`` says; no download gives
            it.
    """

    name: str
    url: str
    filename: str
    sha256: str
    licence: str
    note: str
    copies: tuple[tuple[str, str], ...] = ()
    converted: bool = False


_FACIAL_EXPRESSIONS_COMMIT = "5bb08c2b32930d15df06dcb147ecadb8c3f7e556"
_ICT_COMMIT = "f85fe699bc230514aec864808c36573404b3f480"
# After the files were saved again for timm 0.9 (September 2023).
_HSEMOTION_COMMIT = "045e267c89459c46f3e09afdcb28205456eb6606"
_HSEMOTION_FILES = (
    "enet_b0_8_best_vgaf", "enet_b0_8_best_afew", "enet_b0_8_va_mtl", "enet_b2_8",
)  # fmt: skip
_FACE_CLASSIFICATION_COMMIT = "b861d21b0e76ca5514cdeb5b56a689b7318584f4"
_FACE_API = (
    "https://github.com/justadudewhohacks/face-api.js/raw/a86f011d72124e5fb93e59d5c4ab98f699dd5c9c"
)
_MOBILEFACENET_COMMIT = "a6cc9032a659b615f477833e1a70b5e7931bcccc"
_MOBILEFACE_COMMIT = "128cea33b928dc9bb6d1963202b57a97f5661ccf"
_FACENET_FILES = (
    ("facenet_vggface2", "20180402-114759-vggface2.pt", "VGGFace2",
     "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"),
    ("facenet_casia", "20180408-102900-casia-webface.pt", "CASIA-WebFace", ""),
)  # fmt: skip
_LPIPS_TRUNKS = (
    ("alex", "alexnet-owt-7be5be79.pth", "244 MB",
     "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
    ("vgg", "vgg16-397923af.pth", "553 MB",
     "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
    ("squeeze", "squeezenet1_1-b8a52dc0.pth", "5 MB",
     "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"),
)  # fmt: skip

DATA = (
    Asset(
        name="facial_expressions",
        url="https://github.com/muxspace/facial_expressions/archive/"
        f"{_FACIAL_EXPRESSIONS_COMMIT}.tar.gz",
        filename="facial_expressions.tar.gz",
        sha256="",
        licence="Apache-2.0 (repository); the press photographs have no known licence",
        note="about 13,700 labelled photographs; unpack it and pass the folder as ROOT",
    ),
)

FACES = (
    Asset(
        name="face_landmarker",
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
        "float16/1/face_landmarker.task",
        filename="face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        licence="Apache-2.0 (Google MediaPipe)",
        note="face detector, 478-point mesh and 52 expression scores, read by faces/mesh",
    ),
    Asset(
        name="ict",
        url=f"https://github.com/ICT-VGL/ICT-FaceKit/archive/{_ICT_COMMIT}.tar.gz",
        filename="ICT-FaceKit.tar.gz",
        sha256="",
        licence="MIT (USC Institute for Creative Technologies)",
        note="morphable face: 100 identities, 53 expressions; read by faces/ict, not unpacked",
        copies=(
            (
                "ICT-FaceKit-master.tar.xz",
                "7bc6350602f2c7b47d89075a1ab0a9f3b12b5e8281c1d939fe870b58408ff4ac",
            ),
        ),
    ),
)

EMOTION_JUDGES = (
    *(
        Asset(
            name=f"hsemotion_{name}",
            url="https://github.com/av-savchenko/face-emotion-recognition/raw/"
            f"{_HSEMOTION_COMMIT}/models/affectnet_emotions/{name}.pt",
            filename=f"{name}.pt",
            sha256="",
            licence="Apache-2.0 (files); trained on AffectNet, whose licence is research only",
            note="whole pickled module, read as data by evaluation/hsemotion, never executed",
        )
        for name in _HSEMOTION_FILES
    ),
    Asset(
        name="mini_xception",
        url=f"https://github.com/oarriaga/face_classification/raw/{_FACE_CLASSIFICATION_COMMIT}/"
        "trained_models/emotion_models/fer2013_mini_XCEPTION.102-0.66.hdf5",
        filename="fer2013_mini_XCEPTION.102-0.66.hdf5",
        sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
        licence="MIT (files); trained on FER2013",
        note="expression net of 64 px grey faces, read as data by networks/mini_xception",
        copies=(
            (
                "mini_xception_102.npz",
                "31c674489eb5f1890688aa236aaadb67a2bc057724203194906a3bd408bbd0ba",
            ),
        ),
    ),
    Asset(
        name="faceapi",
        url=f"{_FACE_API}/weights/face_expression_model-shard1",
        filename="face_expression_model-shard1",
        sha256="9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d",
        licence="MIT (files); training data not stated",
        note="expression net of 112 px faces, in bytes; read as data by networks/faceapi_net, by "
        "the list in faceapi_manifest",
    ),
    Asset(
        name="faceapi_manifest",
        url=f"{_FACE_API}/weights/face_expression_model-weights_manifest.json",
        filename="face_expression_model-weights_manifest.json",
        sha256="960cbe959fe0328965dd18662d839f197df6e27607da4f726cd0c826e47fc936",
        licence="MIT (files)",
        note="names, shapes and scales of the tensors in faceapi",
    ),
)

IDENTITY_NETS = (
    Asset(
        name="mobilefacenet",
        url="https://github.com/foamliu/MobileFaceNet/raw/"
        f"{_MOBILEFACENET_COMMIT}/weights/mobilefacenet.pt",
        filename="mobilefacenet.pt",
        sha256="90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4",
        licence="Apache-2.0; trained on MS-Celeb-1M",
        note="identity embedder, read by networks/identity",
    ),
    Asset(
        name="mobileface_v2",
        url="https://github.com/becauseofAI/MobileFace/raw/"
        f"{_MOBILEFACE_COMMIT}/MobileFace_Identification/"
        "MobileFace_Identification_V2-0000.params",
        filename="MobileFace_Identification_V2-0000.params",
        sha256="750057619a1eef8acb320339aebf0bbcf191497e1396a361c8aaba517bbe825e",
        licence="MIT; training data not stated",
        note="identity embedder, MXNet parameters read as data by networks/mxnet_file",
    ),
    *(
        Asset(
            name=name,
            url=f"https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/{filename}",
            filename=filename,
            sha256=digest,
            licence=f"MIT (code); trained on {faces}: research only",
            note="identity embedder (InceptionResnetV1), read by networks/identity",
        )
        for name, filename, faces, digest in _FACENET_FILES
    ),
)

PERCEPTUAL_TRUNKS = (
    *(
        Asset(
            name=f"lpips_{net}",
            url=f"https://download.pytorch.org/models/{filename}",
            filename=filename,
            sha256=digest,
            licence="BSD-3-Clause (torchvision); trained on ImageNet",
            note=f"trunk of LPIPS ({net}), {size}; read by evaluation/perceptual_distance",
        )
        for net, filename, size, digest in _LPIPS_TRUNKS
    ),
    Asset(
        name="squeezenet1_1_mit",
        url="https://github.com/rcmalli/keras-squeezenet/releases/download/v1.0/"
        "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5",
        filename="squeezenet1_1_features_torch.pt",
        sha256="50adc2b46560f78ad7ff3306eeca07283315eb7625f11b4cc19e1306089fa097",
        licence="MIT (keras-squeezenet); trained on ImageNet",
        note="another trunk for LPIPS (squeeze): the Keras kernels as a torch state dict of "
        "torchvision's names, kernels transposed, BGR and mean folded into the first; not "
        "comparable with published LPIPS",
        converted=True,
    ),
)

ENTRIES = (*DATA, *FACES, *EMOTION_JUDGES, *IDENTITY_NETS, *PERCEPTUAL_TRUNKS)
