"""Organs as DICOM codes them: SNOMED CT, of the names that pydicom has."""

from samparser_monai.volumes.organ_names import same_organ

CODED = (
    "Liver Kidney Spleen Pancreas Stomach Gallbladder Esophagus Aorta InferiorVenaCava "
    "AdrenalGland Duodenum Bladder Prostate Uterus Lung Heart Colon SmallIntestine Rectum "
    "PortalVein"
).split()


def code_of(organ: str) -> tuple[str, str, str]:
    """Return the value, the scheme and the meaning of an organ's code; of others that of an organ.

    A side is not in the code.
    """
    from pydicom.sr.codedict import codes

    named = next((name for name in CODED if same_organ(name, organ)), "Organ")
    found = getattr(codes.SCT, named)
    return found.value, found.scheme_designator, found.meaning
